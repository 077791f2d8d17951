/** An ACME server that refuses: what it says is kept, and nothing is repeated. */
import { once } from 'node:events'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newKey, orderCertificate } from '../../../src/platform/acme/order.ts'
import { systemClock } from '../../../src/platform/lib/clock.ts'
import { type Authority, createAuthority } from '../../support/certificates.ts'

let authority: Authority
let server: https.Server
let base: string
let asked: string[]
let refusal: { status: number; headers: Record<string, string>; type: string }

beforeAll(async () => {
  authority = await createAuthority()
  const { cert, key } = await authority.issue()
  server = https.createServer({ cert, key }, (req, res) => {
    asked.push(`${req.method} ${req.url}`)
    req.resume()
    res.setHeader('replay-nonce', 'abc')
    if (req.method === 'HEAD') return void res.end()
    if (req.url === '/dir') {
      res.setHeader('content-type', 'application/json')
      return void res.end(JSON.stringify({ newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/order` }))
    }
    res.writeHead(refusal.status, { 'content-type': 'application/problem+json', ...refusal.headers })
    res.end(JSON.stringify({ type: refusal.type, detail: 'not today' }))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.close().closeAllConnections()
  authority.close()
})

function order(): Promise<unknown> {
  asked = []
  return orderCertificate({
    access: { directoryUrl: `${base}/dir`, accountKey: newKey(), eab: null, ca: authority.certFile, clock: systemClock },
    domains: ['api.example.com'],
    email: undefined,
    kinds: ['http-01'],
    publish: async () => undefined,
    signal: new AbortController().signal,
  })
}

it.each([
  [429, 'urn:ietf:params:acme:error:rateLimited', '3600', 'rate_limited', 3_600_000],
  [403, 'urn:ietf:params:acme:error:unauthorized', null, 'refused', 0],
  [503, 'urn:ietf:params:acme:error:serverInternal', '120', 'unreachable', 120_000],
  [500, '', 'nonsense', 'unreachable', 0],
])('%i %s with Retry-After %s: %s', async (status, type, after, outcome, retryAfterMs) => {
  refusal = { status, type, headers: after === null ? {} : { 'retry-after': after } }
  await expect(order()).rejects.toMatchObject({ outcome, retryAfterMs, message: expect.stringContaining(`answers ${status}: not today`) })
  expect(asked).toEqual(['GET /dir', 'HEAD /nonce', 'POST /account'])
})

it('reads a Retry-After that is a date', async () => {
  const at = new Date(systemClock.now() + 7_200_000)
  refusal = { status: 429, type: '', headers: { 'retry-after': at.toUTCString() } }
  const failure = (await order().catch((error) => error)) as { retryAfterMs: number }
  expect(failure.retryAfterMs).toBeGreaterThan(7_000_000)
  expect(failure.retryAfterMs).toBeLessThanOrEqual(7_200_000)
})

it('does not trust a server whose certificate another CA has signed', async () => {
  const other = await createAuthority('Other CA')
  const failure = orderCertificate({
    access: { directoryUrl: `${base}/dir`, accountKey: newKey(), eab: null, ca: other.certFile, clock: systemClock },
    domains: ['api.example.com'],
    email: undefined,
    kinds: ['http-01'],
    publish: async () => undefined,
    signal: new AbortController().signal,
  })
  await expect(failure).rejects.toMatchObject({ outcome: 'unreachable', message: expect.stringContaining('cannot be reached') })
  other.close()
})
