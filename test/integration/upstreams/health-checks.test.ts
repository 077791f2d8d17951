import http, { type IncomingHttpHeaders } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { createAuthority } from '../../support/certificates.ts'
import { call } from '../../support/client.ts'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'

const keep = useKeep()

/** Answers its checks with `status`, or not at all. All other requests are answered with its name. */
async function startChecked(name: string, path = '/healthz') {
  const checks: { method: string; headers: IncomingHttpHeaders }[] = []
  let status: number | null = 200
  let requests = 0
  const server = http.createServer((req, res) => {
    if (req.url !== path) {
      requests++
      return void res.end(name)
    }
    checks.push({ method: req.method!, headers: req.headers })
    if (status !== null) res.writeHead(status, status === 302 ? { location: '/' } : {}).end('a body')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return keep(
    Promise.resolve({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      port: (server.address() as AddressInfo).port,
      checks,
      requests: () => requests,
      answers: (with_: number | null) => {
        status = with_
      },
      close: () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve())
          server.closeAllConnections()
        }),
    }),
  )
}

const HEALTH = { path: '/healthz', intervalMs: 20, timeoutMs: 2000, failures: 1, successes: 1 }
const gatewayTo = (upstreams: { url: string }[], health: object = {}, part: object = {}) =>
  keep(
    startGateway({
      routes: [
        {
          name: 'it',
          match: { path: '/it' },
          upstream: upstreams.map(({ url }) => url),
          access: 'public',
          health: { ...HEALTH, ...health },
          ...part,
        },
      ],
    }),
  )
const healthOf = (gateway: Gateway, n: number) => metric(gateway, 'portcullis_upstream_healthy', { upstream: `it:${n}` })
const names = async (gateway: Gateway, times = 6) => {
  const seen: string[] = []
  for (let i = 0; i < times; i++) seen.push((await call(gateway, '/it')).body)
  return new Set(seen)
}

describe('an upstream', () => {
  it('that fails its checks gets no requests until it passes them again; log and metrics show it', async () => {
    const [a, b] = await Promise.all([startChecked('a'), startChecked('b')])
    const gateway = await gatewayTo([a, b])
    await until(() => a.checks.length > 0 && b.checks.length > 0, 'checks')
    expect(await names(gateway)).toEqual(new Set(['a', 'b']))
    a.answers(503)
    await until(async () => (await healthOf(gateway, 0)) === 0, 'the gauge of the unhealthy upstream')
    expect(await healthOf(gateway, 1)).toBe(1)
    expect(await names(gateway)).toEqual(new Set(['b']))
    a.answers(200)
    await until(async () => (await healthOf(gateway, 0)) === 1, 'the gauge of the healthy upstream')
    expect(await names(gateway)).toEqual(new Set(['a', 'b']))
    const log = gateway.log().filter((l) => l.upstream === 'it:0')
    expect(log).toMatchObject([
      { level: 'warn', reason: 'upstream_unhealthy', cause: 'status 503' },
      { level: 'info', msg: 'an upstream passes its health checks again: it gets requests' },
    ])
    expect(await metric(gateway, 'portcullis_upstream_health_checks_total', { upstream: 'it:0', outcome: 'failed' })).toBeGreaterThan(0)
    expect(await metric(gateway, 'portcullis_upstream_health_checks_total', { upstream: 'it:1', outcome: 'failed' })).toBe(0)
  })

  it('is asked with GET under the Host of the route, by name, on a connection of its own and without credentials', async () => {
    const a = await startChecked('a')
    await gatewayTo([a], {}, { headers: { request: { set: { Host: 'orders.internal', 'X-Api-Key': 'secret' } } } })
    await until(() => a.checks.length > 0, 'a check')
    expect(a.checks[0]).toEqual({
      method: 'GET',
      headers: { host: 'orders.internal', 'user-agent': 'portcullis-health', accept: '*/*', connection: 'close' },
    })
  })

  it('without a Host of the route is asked under its own', async () => {
    const a = await startChecked('a')
    await gatewayTo([a])
    await until(() => a.checks.length > 0, 'a check')
    expect(a.checks[0]!.headers.host).toBe(`127.0.0.1:${a.port}`)
  })

  it.each<[string, number | null, object, string]>([
    ['does not answer in time', null, { timeoutMs: 30 }, 'no answer within timeoutMs = 30'],
    ['redirects', 302, {}, 'status 302'],
    ['answers with another status than the expected', 200, { expect: [204, 418] }, 'status 200'],
    ['lost the path of its checks', 200, { path: '/other', expect: 404 }, 'status 200'],
  ])('that %s is unhealthy', async (_, status, health, cause) => {
    const [a, b] = await Promise.all([startChecked('a'), startChecked('b')])
    a.answers(status)
    const gateway = await gatewayTo([a, b], health)
    await until(() => gateway.log().some((l) => l.upstream === 'it:0' && l.reason === 'upstream_unhealthy'), 'the log line')
    expect(gateway.log().find((l) => l.upstream === 'it:0')).toMatchObject({ cause })
  })

  it('that refuses connections is unhealthy', async () => {
    const [a, b] = await Promise.all([startChecked('a'), startChecked('b')])
    await a.close()
    const gateway = await gatewayTo([a, b])
    await until(async () => (await healthOf(gateway, 0)) === 0, 'the gauge')
    expect(gateway.log().find((l) => l.reason === 'upstream_unhealthy')!.cause).toMatch(/ECONNREFUSED/)
    expect(await names(gateway)).toEqual(new Set(['b']))
    expect(await metric(gateway, 'portcullis_upstream_retries_total', { upstream: 'it:0' })).toBe(0)
  })

  it('that answers with an expected status is healthy, whatever it is', async () => {
    const a = await startChecked('a')
    a.answers(418)
    const gateway = await gatewayTo([a], { expect: 418 })
    await until(() => a.checks.length > 2, 'checks')
    expect(await healthOf(gateway, 0)).toBe(1)
  })
})

it('when all upstreams fail their checks, all of them get requests', async () => {
  const [a, b] = await Promise.all([startChecked('a'), startChecked('b')])
  a.answers(500)
  b.answers(500)
  const gateway = await gatewayTo([a, b])
  await until(async () => (await healthOf(gateway, 0)) + (await healthOf(gateway, 1)) === 0, 'both gauges')
  expect(await names(gateway)).toEqual(new Set(['a', 'b']))
})

it('a sticky client leaves an unhealthy upstream', async () => {
  const [a, b] = await Promise.all([startChecked('a'), startChecked('b')])
  const gateway = await gatewayTo([a, b], {}, { balance: 'sticky', sticky: { by: 'address' } })
  const [own] = await names(gateway)
  const [left, n] = own === 'a' ? [a, 0] : [b, 1]
  left.answers(500)
  await until(async () => (await healthOf(gateway, n)) === 0, 'the gauge')
  expect(await names(gateway)).toEqual(new Set([own === 'a' ? 'b' : 'a']))
})

it.each([
  ['our CA', 1],
  ['another CA', 0],
])('checks of an https upstream verify its certificate: signed by %s', async (signer, isHealthy) => {
  const [ours, theirs] = [await createAuthority('our CA'), await createAuthority('another CA')]
  const { cert, key } = await (signer === 'our CA' ? ours : theirs).issue()
  const server = https.createServer({ cert, key }, (_req, res) => res.end())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  await keep(
    Promise.resolve({
      async close() {
        server.close()
        server.closeAllConnections()
        for (const authority of [ours, theirs]) authority.close()
      },
    }),
  )
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const gateway = await gatewayTo([], {}, { upstream: [{ url, tls: { ca: ours.certFile } }] })
  const outcome = isHealthy ? 'passed' : 'failed'
  await until(
    async () => (await metric(gateway, 'portcullis_upstream_health_checks_total', { upstream: 'it:0', outcome })) > 0,
    'a finished check',
  )
  expect(await healthOf(gateway, 0)).toBe(isHealthy)
})

it('checks end with the gateway, also those in flight', async () => {
  const a = await startChecked('a')
  a.answers(null)
  const gateway = await gatewayTo([a], { timeoutMs: 60_000 })
  await until(() => a.checks.length > 0, 'a check')
  await gateway.close()
  expect(a.checks.length).toBe(1)
})
