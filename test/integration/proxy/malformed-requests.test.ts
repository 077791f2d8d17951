import { afterEach, describe, expect, it } from 'vitest'
import { call, raw, statusOf } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { metric } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { connect } from '../../support/wire.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({ routes: [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] }))
/** Whatever was sent: nothing of it reached the upstream, nothing is left behind, and the next one is served. */
afterEach(async () => {
  expect(upstream.take()).toEqual([])
  await until(async () => (await metric(gateway, 'portcullis_http_requests_in_flight')) === 0, 'no request in flight')
  expect((await call(gateway, '/alive')).status).toBe(200)
  upstream.take()
})

const request = (fields: string[], line = 'GET / HTTP/1.1') => `${[line, ...fields].join('\r\n')}\r\n\r\n`
const HOST = 'Host: gateway.test'
const fields = (n: number) => Array.from({ length: n }, (_, i) => `a${i.toString(36)}:`)

it.each<[string, string, number, string]>([
  ['a request line that is none', 'HELLO\r\n\r\n', 400, 'request_malformed'],
  ['TLS on a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400, 'request_malformed'],
  ['HTTP/2 by prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'request_malformed'],
  ['a version that is none', request([HOST], 'GET / HTTP/9.9'), 400, 'request_malformed'],
  ['a method that is none', request([HOST], 'G@T / HTTP/1.1'), 400, 'request_malformed'],
  ['a blank before the colon of a field', request([HOST, 'X-A : b']), 400, 'request_malformed'],
  ['a folded field', request([HOST, 'X-A: b\r\n c']), 400, 'request_malformed'],
  ['a NUL in a field', request([HOST, 'X-A: b\0c']), 400, 'request_malformed'],
  ['a bare CR in a field', request([HOST, 'X-A: b\rX-B: c']), 400, 'request_malformed'],
  ['a length that is none', request([HOST, 'Content-Length: five'], 'POST / HTTP/1.1'), 400, 'request_malformed'],
  ['a negative length', request([HOST, 'Content-Length: -1'], 'POST / HTTP/1.1'), 400, 'request_malformed'],
  ['two lengths', request([HOST, 'Content-Length: 1', 'Content-Length: 1'], 'POST / HTTP/1.1'), 400, 'request_malformed'],
  [
    'both a length and chunks',
    `${request([HOST, 'Content-Length: 1', 'Transfer-Encoding: chunked'], 'POST / HTTP/1.1')}0\r\n\r\n`,
    400,
    'request_malformed',
  ],
  [
    'chunks below another coding',
    `${request([HOST, 'Transfer-Encoding: chunked, gzip'], 'POST / HTTP/1.1')}0\r\n\r\n`,
    400,
    'request_malformed',
  ],
  [
    'a coding below chunks',
    `${request([HOST, 'Transfer-Encoding: gzip, chunked'], 'POST / HTTP/1.1')}0\r\n\r\n`,
    501,
    'transfer_coding_unsupported',
  ],
  [
    'a coding that is none',
    `${request([HOST, 'Transfer-Encoding: identity, chunked'], 'POST / HTTP/1.1')}0\r\n\r\n`,
    501,
    'transfer_coding_unsupported',
  ],
  ['a coding without chunks', request([HOST, 'Transfer-Encoding: gzip'], 'POST / HTTP/1.1'), 501, 'transfer_coding_unsupported'],
  [
    'a coding of our own endpoint',
    `${request([HOST, 'Transfer-Encoding: gzip, chunked'], 'POST /auth/login HTTP/1.1')}0\r\n\r\n`,
    501,
    'transfer_coding_unsupported',
  ],
  ['no Host', request(['X-A: b']), 400, 'header_invalid'],
  ['an empty Host', request(['Host:']), 400, 'header_invalid'],
  ['two Hosts', request([HOST, HOST]), 400, 'header_invalid'],
  ['two Hosts in two spellings', request(['HOST: a', 'host: b']), 400, 'header_invalid'],
  ['a Host with a path', request(['Host: gateway.test/x']), 400, 'header_invalid'],
  ['a Host with a user', request(['Host: a@gateway.test']), 400, 'header_invalid'],
  ['a list for Host', request(['Host: a, b']), 400, 'header_invalid'],
  ['two Authorizations', request([HOST, 'Authorization: Bearer a', 'Authorization: Bearer a']), 400, 'header_invalid'],
  ['an absolute target of another host', request([HOST], 'GET http://other.test/ HTTP/1.1'), 400, 'target_ambiguous'],
  ['an asterisk for a target', request([HOST], 'GET * HTTP/1.1'), 400, 'target_ambiguous'],
  ['a malformed escape', request([HOST], 'GET /%zz HTTP/1.1'), 400, 'target_ambiguous'],
  ['a target of more than 8 KiB', request([HOST], `GET /${'a'.repeat(8192)} HTTP/1.1`), 414, 'target_too_long'],
  ['a header section of more than 16 KiB', request([HOST, `X-A: ${'b'.repeat(17_000)}`]), 431, 'headers_too_large'],
  ['more than 200 fields', request([HOST, ...fields(200)]), 431, 'headers_too_large'],
  ['more than 2000 fields, which Node would drop silently', request([HOST, ...fields(2100)]), 431, 'headers_too_large'],
  [
    'an expectation that nobody knows',
    request([HOST, 'Expect: the-moon', 'Content-Length: 1'], 'POST / HTTP/1.1'),
    417,
    'expectation_failed',
  ],
  ['CONNECT', request([HOST], 'CONNECT upstream.test:80 HTTP/1.1'), 405, 'method_not_allowed'],
  ['CONNECT to a path', request([HOST], 'CONNECT / HTTP/1.1'), 405, 'method_not_allowed'],
  ['TRACE', request([HOST], 'TRACE / HTTP/1.1'), 405, 'method_not_allowed'],
])('%s is answered with a problem', async (_name, bytes, status, code) => {
  // a server may keep a connection whose framing is sound: the first answer is what counts
  const answer = await raw(gateway.port, bytes, (text) => text.includes('"timestamp"'))
  expect(statusOf(answer)).toBe(status)
  expect(answer).toMatch(/^content-type: application\/problem\+json/im)
  expect(answer).toContain(`"code":"${code}"`)
  expect(answer).toMatch(/^x-request-id: \S+\r$/im)
  if (code === 'method_not_allowed') expect(answer).toMatch(/^allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r$/im)
})

describe('a connection on which something malformed came', () => {
  it('is closed', async () => {
    expect(await raw(gateway.port, 'HELLO\r\n\r\n')).toMatch(/^connection: close\r$/im)
  })
})

it('a body that turns out malformed breaks the request off, and the upstream never gets a whole one', async () => {
  const answer = await raw(gateway.port, `${request([HOST, 'Transfer-Encoding: chunked'], 'POST / HTTP/1.1')}zz\r\nx\r\n0\r\n\r\n`)
  expect(statusOf(answer)).not.toBe(200)
})

it('half a request that is given up leaves nothing behind', async () => {
  const client = await connect(gateway.port)
  client.write('GET / HTTP/1.1\r\nHost: gate')
  client.destroy()
  const other = await connect(gateway.port)
  other.write(`${request([HOST, 'Content-Length: 10'], 'POST / HTTP/1.1')}half`)
  other.destroy()
})

it('is counted and logged without its bytes', async () => {
  await raw(gateway.port, 'SECRET-BYTES\r\n\r\n')
  expect(await metric(gateway, 'portcullis_errors_total', { code: 'request_malformed', route: 'none' })).toBeGreaterThan(0)
  expect(JSON.stringify(gateway.log())).not.toContain('SECRET-BYTES')
})
