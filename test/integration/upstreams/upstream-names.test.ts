import type { LookupAddress } from 'node:dns'
import net from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createDnsCache } from '../../../src/proxy/upstream/dns.ts'
import { call } from '../../support/client.ts'
import { startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startRawUpstream } from '../../support/raw-upstream.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
const at = (...addresses: string[]): LookupAddress[] => addresses.map((address) => ({ address, family: net.isIP(address) }))

describe('a name', () => {
  const create = (resolve: () => Promise<LookupAddress[]>) => {
    const names = createDnsCache(resolve, 5)
    closing.push(() => names.stop())
    return names
  }
  const ask = (names: ReturnType<typeof create>, options: object = { all: true }) =>
    new Promise((done) => names.lookupOf('api.test')('api.test', options, (error, found) => done(error ? error.code : found)))

  it('gives its addresses in turn', async () => {
    const names = create(async () => at('192.0.2.1', '192.0.2.2', '2001:db8::1'))
    expect([await ask(names, {}), await ask(names, {}), await ask(names, {})]).toEqual(['192.0.2.1', '192.0.2.2', '2001:db8::1'])
    expect(await ask(names, { family: 6 })).toBe('2001:db8::1')
    expect(await ask(names)).toHaveLength(3)
  })

  it('is looked up again, and new addresses are reported: another order is no change', async () => {
    const answers = [at('192.0.2.1', '192.0.2.2'), at('192.0.2.2', '192.0.2.1'), at('192.0.2.3')]
    let asked = 0
    const names = create(async () => answers[Math.min(asked++, 2)]!)
    const changed = vi.fn(() => asked)
    names.watch('api.test', changed)
    await until(() => asked > 4, 'five look-ups')
    expect(changed).toHaveBeenCalledTimes(1)
    expect(await ask(names, {})).toBe('192.0.2.3')
  })

  it('keeps the last addresses while it cannot be looked up', async () => {
    let asked = 0
    const names = create(async () => {
      if (asked++ > 0) throw Object.assign(new Error('away'), { code: 'EAI_AGAIN' })
      return at('192.0.2.1')
    })
    expect(await ask(names, {})).toBe('192.0.2.1')
    await until(() => asked > 3, 'three that failed')
    expect(await ask(names, {})).toBe('192.0.2.1')
  })

  it('that was never found is an error', async () => {
    const names = create(async () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' })))
    expect(await ask(names)).toBe('ENOTFOUND')
  })

  it('that is an address is never looked up', async () => {
    const asked: string[] = []
    const names = createDnsCache(async (name) => {
      asked.push(name)
      return at('192.0.2.1')
    }, 5)
    closing.push(() => names.stop())
    names.watch('192.0.2.1', () => {})
    names.watch('api.test', () => {})
    await until(() => asked.length > 2, 'three look-ups')
    expect(new Set(asked)).toEqual(new Set(['api.test']))
  })
})

it('an upstream that moves is followed, although its old address still answers on a connection that is kept alive', async () => {
  const answer = (socket: net.Socket) => {
    const word = socket.localAddress!
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${word.length}\r\n\r\n${word}`)
  }
  // one port, two addresses of loopback
  const upstream = await startRawUpstream(answer, { host: '0.0.0.0' })
  closing.push(() => upstream.close())
  let address = '127.0.0.1'
  const gateway = await startGateway({
    routes: [{ name: 'it', match: { path: '/' }, upstream: [`http://api.test:${upstream.port}`], access: 'public' }],
    resolve: async () => at(address),
  })
  closing.push(() => gateway.close())
  expect((await call(gateway, '/')).body).toBe('127.0.0.1')
  address = '127.0.0.2'
  await until(async () => (await call(gateway, '/')).body === '127.0.0.2', 'an answer of the new address')
})

it('an upstream whose settings a reload changes keeps the addresses of its name, also while the resolver fails', async () => {
  const upstream = await startRawUpstream((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  closing.push(() => upstream.close())
  let isAway = false
  const route = { name: 'it', match: { path: '/' }, upstream: [`http://api.test:${upstream.port}`], access: 'public' }
  const gateway = await startGateway({
    routes: [route],
    resolve: async () => (isAway ? Promise.reject(Object.assign(new Error('away'), { code: 'EAI_AGAIN' })) : at('127.0.0.1')),
  })
  closing.push(() => gateway.close())
  expect((await call(gateway, '/')).status).toBe(200)
  isAway = true
  expect(await gateway.reload({ routes: [{ ...route, timeouts: { connectMs: 900 } }] })).toMatchObject({ status: 'reloaded' })
  expect((await call(gateway, '/')).status).toBe(200)
})
