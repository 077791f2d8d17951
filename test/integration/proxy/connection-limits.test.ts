import { describe, expect, it } from 'vitest'
import { raw, statusOf } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { metric } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect, type Wire } from '../../support/wire.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({
  config: { server: { maxConnections: 5, maxRequestsPerSocket: 3, maxHeaders: 10, maxHeaderBytes: 2048, maxTargetBytes: 300 } },
  routes: [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' }],
}))
const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n'
const answers = (wire: Wire) => wire.text().match(/^HTTP\/1\.1 200/gm)?.length ?? 0

describe('connections', () => {
  it('above the limit are dropped and counted; the open connections are served, and a closed connection makes room', async () => {
    const open: Wire[] = []
    for (let i = 0; i < 5; i++) {
      open.push(await connect(gateway.port))
      open[i]!.write(`${GET}\r\n`)
      await until(() => answers(open[i]!) === 1, 'an answer')
    }
    const refused = await connect(gateway.port)
    refused.write(`${GET}\r\n`)
    expect(await refused.closes()).toBe('')
    expect(await metric(gateway, 'portcullis_connections_refused_total')).toBe(1)
    for (const wire of open) {
      wire.write(`${GET}\r\n`)
      await until(() => answers(wire) === 2, 'a second answer')
    }
    open[0]!.destroy()
    await until(async () => statusOf(await raw(gateway.port, `${GET}Connection: close\r\n\r\n`).catch(() => '')) === 200, 'room')
    for (const wire of open) wire.destroy()
  })

  it('are closed after so many requests, the last of which says so', async () => {
    const wire = await connect(gateway.port)
    for (let i = 1; i <= 3; i++) {
      wire.write(`${GET}\r\n`)
      await until(() => answers(wire) === i, `answer ${i}`)
    }
    const text = await wire.closes()
    expect(text.split('HTTP/1.1 200').map((answer) => /^connection: close\r$/im.test(answer))).toEqual([false, false, false, true])
  })
})

describe('a header section', () => {
  const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: y\r\n`).join('')
  it.each([
    ['as many fields as are allowed', fields(8), 200],
    ['one more', fields(9), 431],
    ['as many bytes as are allowed', `X: ${'y'.repeat(1900)}\r\n`, 200],
    ['more', `X: ${'y'.repeat(2048)}\r\n`, 431],
  ])('of %s is %3$i', async (_, more, status) => {
    const answer = await raw(gateway.port, `${GET}Connection: close\r\n${more}\r\n`)
    expect(statusOf(answer)).toBe(status)
    if (status === 431) expect(answer).toContain('"code":"headers_too_large"')
  })
})

it('no answer names a product or a version', async () => {
  for (const target of ['/x', '/health', '/auth/me', '/%2e', 'bad']) {
    const answer = await raw(gateway.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    expect(answer.split('\r\n\r\n')[0], target).not.toMatch(/^(server|x-powered-by|via):|portcullis|fastify|node/im)
  }
})

describe('a request target', () => {
  const ask = (length: number) => raw(gateway.port, `GET /${'a'.repeat(length - 1)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)

  it('may be as long as server.maxTargetBytes, and not longer', async () => {
    expect(statusOf(await ask(300))).toBe(200)
    const answer = await ask(301)
    expect(statusOf(answer)).toBe(414)
    expect(answer).toContain('"target_too_long"')
  })
})
