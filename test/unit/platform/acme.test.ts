/** The decisions of ACME that need no server. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import { describe, expect, it } from 'vitest'
import { certificateIdOf, directoryOf, problemOfDomain } from '../../../src/platform/acme/acme-settings.ts'
import { readClientHello } from '../../../src/platform/acme/client-hello.ts'
import { createAnswerHttpChallenge } from '../../../src/platform/acme/http-challenge.ts'
import { renewAt, retryAfter } from '../../../src/platform/acme/renewal.ts'
import { readOrdered } from '../../../src/platform/acme/usable-certificate.ts'
import { createAuthority } from '../../support/certificates.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

describe('renewal', () => {
  const lasting = (days: number) => ({ notBefore: new Date(0), notAfter: new Date(days * DAY_MS) })
  it.each([
    [90, undefined, 60],
    [6, undefined, 3],
    [90, 10, 80],
    [6, 30, 3],
    [90, 365, 45],
  ])('a certificate of %i days, renewed %s days before its end: on day %i, or up to 2 %% of its life earlier', (days, before, day) => {
    for (const seed of ['a', 'b', 'c']) {
      const at = renewAt(lasting(days), before, seed) / DAY_MS
      expect(at).toBeLessThanOrEqual(day)
      expect(at).toBeGreaterThan(day - days * 0.02)
    }
  })

  it('a failed order is tried again ever later, and later than the server asks', () => {
    const minutes = (outcome: 'refused' | 'unreachable', random = 0.5) =>
      [1, 2, 3, 9, 100].map((failures) => Math.round(retryAfter(outcome, failures, 0, random) / 60_000))
    expect(minutes('refused')).toEqual([2, 6, 18, 360, 360])
    expect(minutes('unreachable')).toEqual([1, 2, 4, 15, 15])
    expect(retryAfter('refused', 1, 0, 0)).toBe(96_000)
    expect(retryAfter('refused', 1, 0, 1)).toBeCloseTo(144_000)
    expect(retryAfter('rate_limited', 1, 30 * HOUR_MS, 0.5)).toBe(30 * HOUR_MS)
    expect(retryAfter('rate_limited', 1, 1000 * DAY_MS, 0.5)).toBe(7 * DAY_MS)
  })
})

describe('names', () => {
  it.each(['api.example.com', 'API.Example.com', 'xn--bcher-kva.example', 'gateway', '1-2.example.org'])('%s can be ordered', (name) => {
    expect(problemOfDomain(name)).toBeNull()
  })
  it.each([
    ['*.example.com', 'a wildcard'],
    ['192.0.2.1', 'is an address'],
    ['[2001:db8::1]', 'is an address'],
    ['https://api.example.com', 'a name alone'],
    ['api.example.com:443', 'a name alone'],
    ['bücher.example', 'ASCII form'],
    ['-a.example.com', 'not a host name'],
    ['a..example.com', 'not a host name'],
    ['a_b.example.com', 'not a host name'],
    [`${'a'.repeat(64)}.example.com`, 'not a host name'],
  ])('%s cannot', (name, message) => {
    expect(problemOfDomain(name)?.message).toContain(message)
  })
  it('a certificate is the same for the same names in any order', () => {
    const directoryUrl = 'letsencrypt-staging'
    const id = certificateIdOf({ directoryUrl, domains: ['b.example.com', 'A.example.com'] })
    expect(id).toEqual({ directory_url: directoryOf({ directoryUrl }), names: 'a.example.com,b.example.com' })
  })
})

describe('what an ACME server sends', () => {
  it('is used only with its own key, for exactly the names that were ordered, and before its end', async () => {
    const authority = await createAuthority()
    // the certificates of this authority hold 127.0.0.1 as well
    const read = (chain: string, key: string, domains: string[], now = Date.now()) => readOrdered({ chain, key }, domains, now)
    const { cert, key } = await authority.issue(['api.example.com'])
    const other = await authority.issue(['api.example.com'])
    expect(() => read(cert, key, ['api.example.com'])).toThrow('it is for IP Address:127.0.0.1, api.example.com')
    expect(() => read(cert, other.key, ['api.example.com'])).toThrow('cannot be used')
    expect(() => read('nothing', key, ['api.example.com'])).toThrow('cannot be used')
    const exact = ['IP Address:127.0.0.1', 'api.example.com']
    expect(read(cert, key, exact).notAfter.getTime()).toBeGreaterThan(Date.now())
    expect(() => read(cert, key, exact, Date.now() + 1000 * DAY_MS)).toThrow('it has expired')
    authority.close()
  })
})

describe('the first message of a TLS client', () => {
  async function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = tls.connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, ...options })
    client.on('error', () => undefined)
    const [socket] = (await once(server, 'connection')) as [net.Socket]
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    client.destroy()
    socket.destroy()
    server.close()
    return bytes
  }
  const servername = 'API.example.com'

  it.each([
    [
      { servername, ALPNProtocols: ['acme-tls/1'] },
      { serverName: 'api.example.com', protocols: ['acme-tls/1'] },
    ],
    [
      { servername, ALPNProtocols: ['h2', 'http/1.1'], maxVersion: 'TLSv1.2' as const },
      { serverName: 'api.example.com', protocols: ['h2', 'http/1.1'] },
    ],
    [{}, { serverName: null, protocols: [] }],
  ])('is read: %j', async (options, hello) => {
    expect(readClientHello(await helloOf(options))).toEqual(hello)
  })

  it('is waited for, byte by byte, and in several records', async () => {
    const bytes = await helloOf({ servername })
    for (let length = 0; length < bytes.length; length++) expect(readClientHello(bytes.subarray(0, length)), String(length)).toBe('partial')
    const body = bytes.subarray(5)
    const record = (part: Buffer) => Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part])
    const split = Buffer.concat([record(body.subarray(0, 3)), record(body.subarray(3, 100)), record(body.subarray(100))])
    expect(readClientHello(split)).toMatchObject({ serverName: 'api.example.com' })
  })

  it('is none in more than a few records: each look at the bytes begins anew', async () => {
    const body = (await helloOf({ servername })).subarray(5)
    const inRecordsOf = (size: number) =>
      Buffer.concat(
        Array.from({ length: Math.ceil(body.length / size) }, (_, i) => {
          const part = body.subarray(i * size, (i + 1) * size)
          return Buffer.concat([Buffer.from([22, 3, 1, 0, part.length]), part])
        }),
      )
    expect(readClientHello(inRecordsOf(100))).toMatchObject({ serverName: 'api.example.com' })
    expect(readClientHello(inRecordsOf(1))).toBeNull()
  })

  it('is nothing else, whatever the bytes', async () => {
    expect(readClientHello(Buffer.from('GET / HTTP/1.1\r\n\r\n'))).toBeNull()
    expect(readClientHello(Buffer.from([22, 3, 1, 0, 0]))).toBeNull()
    expect(readClientHello(Buffer.from([22, 3, 1, 255, 255, 1]))).toBeNull()
    const bytes = await helloOf({ servername, ALPNProtocols: ['http/1.1'] })
    for (let i = 0; i < 2000; i++) {
      const changed = Buffer.from(bytes)
      randomBytes(4).forEach((byte, at) => {
        changed[(byte * 257 + at * 31 + i) % changed.length] = byte
      })
      expect(() => readClientHello(changed)).not.toThrow()
    }
  })
})

describe('a challenge by HTTP', () => {
  const token = 'a'.repeat(43)
  const request = { method: 'GET', url: `/.well-known/acme-challenge/${token}`, headers: {} } as IncomingMessage

  it.each([
    ['there is no such token', null],
    ['the token is pending', 'text'],
  ])('is given up when the client has left while the database was asked: %s', async (_, found) => {
    const calls: string[] = []
    const answer = createAnswerHttpChallenge({ keyAuthorization: () => Promise.resolve(found) }, () => calls.push('answered'))
    answer(request, { closed: true } as ServerResponse, () => calls.push('next'))
    await new Promise(setImmediate)
    expect(calls).toEqual([])
  })

  it('goes on as any other request without such a token', async () => {
    const next = await new Promise((resolve) =>
      createAnswerHttpChallenge({ keyAuthorization: () => Promise.resolve(null) }, () => {})(
        request,
        { closed: false } as ServerResponse,
        () => resolve('next'),
      ),
    )
    expect(next).toBe('next')
  })
})
