import { once } from 'node:events'
import type http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { call, raw, statusOf } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let authority: Authority
let issued: Issued
let upstream: Upstream
/** Terminates TLS itself. */
let secure: Gateway
/** Behind a balancer on loopback that does. */
let behind: Gateway
beforeAll(async () => {
  authority = await createAuthority()
  issued = await authority.issue(['api.test'])
  upstream = await startUpstream()
  const routes = [
    { name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public' },
    { name: 'other', match: { path: '/', host: 'other.test' }, upstream: [upstream.url], access: 'public' },
  ]
  const { certFile: cert, keyFile: key } = issued
  secure = await startGateway({
    routes,
    config: {
      server: {
        publicUrl: 'https://api.test',
        tls: { cert, key, reloadSeconds: 1, redirectPort: 0 },
        headersTimeoutMs: 500,
        maxHeaderBytes: 4096,
      },
    },
  })
  secure.app.redirect!.listen(0, '127.0.0.1')
  behind = await startGateway({
    routes,
    config: {
      server: {
        publicUrl: 'https://api.test',
        httpsOnly: true,
        trustedProxies: ['127.0.0.1/32'],
        hsts: { maxAgeSeconds: 60, includeSubDomains: true },
      },
    },
  })
})
afterAll(async () => {
  await Promise.all([secure.close(), behind.close(), upstream.close()])
  authority.close()
})

interface Got {
  status: number
  headers: http.IncomingHttpHeaders
  body: string
  /** SHA-256 of the certificate that was shown. */
  fingerprint: string
}
async function get(path: string): Promise<Got> {
  const request = https.get({ host: '127.0.0.1', port: secure.port, path, ca: authority.cert, servername: 'api.test', agent: false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const { fingerprint256 } = (response.socket as tls.TLSSocket).getPeerCertificate()
  let body = ''
  for await (const chunk of response) body += chunk
  return { status: response.statusCode!, headers: response.headers, body, fingerprint: fingerprint256 }
}

describe('a listener with a certificate', () => {
  it('serves over TLS, and the headers to upstream and browser say so', async () => {
    const { status, headers, body } = await get('/x')
    expect(status).toBe(200)
    expect(JSON.parse(body).headers['x-forwarded-proto']).toBe('https')
    expect(headers['strict-transport-security']).toBe('max-age=31536000')
    for (const path of ['/health', '/auth/me', '/%2e']) expect((await get(path)).headers['strict-transport-security'], path).toBeDefined()
  })

  it('keeps every deadline and limit that it has without TLS', async () => {
    const text = (bytes: string) =>
      new Promise<string>((resolve) => {
        const socket = tls.connect({ host: '127.0.0.1', port: secure.port, ca: authority.cert, servername: 'api.test' })
        let seen = ''
        socket.on('error', () => {})
        socket.on('data', (chunk) => {
          seen += chunk
        })
        socket.on('close', () => resolve(seen))
        socket.write(bytes)
      })
    expect(await text('GET /x HTTP/1.1\r\nHost: api.test\r\nX-Slow: ')).toMatch(/^HTTP\/1\.1 408 [\s\S]*"request_timeout"/)
    expect(await text(`GET /x HTTP/1.1\r\nHost: api.test\r\nX: ${'y'.repeat(4096)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /)
    expect(await text('GET /x HTTP/1.1\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [\s\S]*"header_invalid"/)
  })

  it.each([
    ['says nothing', Buffer.alloc(0)],
    ['says half of a TLS greeting', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00])],
  ])('lets a connection go that %s', async (_, bytes) => {
    const socket = net.connect(secure.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume().write(bytes)
    await once(socket, 'close')
  })

  it('finishes what is in flight when it stops', async () => {
    const { certFile: cert, keyFile: key } = await authority.issue(['api.test'])
    let finish = () => {}
    const slow = await startUpstream((_req, res) => {
      res.writeHead(200).write('first ')
      finish = () => res.end('last')
      return true
    })
    const stopping = await startGateway({
      routes: [{ name: 'all', match: { path: '/' }, upstream: [slow.url], access: 'public' }],
      config: { server: { publicUrl: 'https://api.test', tls: { cert, key } } },
    })
    const options = { host: '127.0.0.1', port: stopping.port, ca: authority.cert, servername: 'api.test' }
    const idle = tls.connect(options).on('error', () => {})
    await once(idle.resume(), 'secureConnect')
    const [response] = (await once(https.get({ ...options, agent: false }), 'response')) as [http.IncomingMessage]
    const stop = stopping.close()
    // who has nothing to do is gone by then
    await once(idle, 'close')
    finish()
    let text = ''
    for await (const chunk of response) text += chunk
    expect(text).toBe('first last')
    await stop
    await slow.close()
  })

  it.each([[['http/1.0']], [['h2', 'http/1.1']], [undefined]])('serves a client that offers the protocols %j', async (ALPNProtocols) => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port: secure.port,
      ca: authority.cert,
      servername: 'api.test',
      ...(ALPNProtocols && { ALPNProtocols }),
    })
    await once(socket, 'secureConnect')
    expect(socket.alpnProtocol).toBe(ALPNProtocols?.at(-1) ?? false)
    socket.write('GET /x HTTP/1.0\r\nHost: api.test\r\n\r\n')
    let text = ''
    for await (const chunk of socket.setEncoding('latin1')) text += chunk
    expect(statusOf(text)).toBe(200)
  })

  it('speaks no TLS before 1.2', async () => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port: secure.port,
      ca: authority.cert,
      servername: 'api.test',
      maxVersion: 'TLSv1.1',
      // what this client would refuse to offer by itself
      ciphers: 'DEFAULT@SECLEVEL=0',
      minVersion: 'TLSv1',
    })
    await expect(once(socket, 'secureConnect')).rejects.toThrow(/alert protocol version/)
  })

  it('has nothing to say to who speaks no TLS', async () => {
    expect(await raw(secure.port, 'GET / HTTP/1.1\r\nHost: api.test\r\n\r\n')).toBe('')
    expect((await get('/x')).status).toBe(200)
  })

  it('shows until when the certificate is good', async () => {
    const inAYear = Date.now() / 1000 + 364 * 86_400
    expect(await metric(secure, 'portcullis_tls_certificate_expiry_timestamp_seconds')).toBeGreaterThan(inAYear)
  })

  it('takes a new certificate without a restart; a broken certificate changes nothing, and is logged', async () => {
    const { fingerprint } = await get('/x')
    const { certFile, keyFile } = issued
    const { writeFileSync } = await import('node:fs')
    writeFileSync(certFile, 'half a file')
    await until(() => secure.log().some((l) => l.reason === 'certificate_unusable'), 'the complaint')
    expect((await get('/x')).fingerprint).toBe(fingerprint)
    await authority.replace({ ...issued, certFile, keyFile }, ['api.test'])
    await until(async () => (await get('/x')).fingerprint !== fingerprint, 'the new certificate')
    expect(secure.log().filter((l) => l.reason === 'certificate_unusable')).toHaveLength(1)
  })
})

describe('plain HTTP', () => {
  const ask = async (target: string, host = 'api.test', method = 'GET') => {
    const { port } = secure.app.redirect!.address() as net.AddressInfo
    const answer = await raw(port, `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    return [statusOf(answer), /^location: (.*)\r$/im.exec(answer)?.[1]]
  }

  it.each([
    ['/a/b?c=d', 'api.test', 'https://api.test/a/b?c=d'],
    ['/a', 'other.test:80', 'https://other.test/a'],
    ['/a', 'evil.test', 'https://api.test/a'],
    ['//evil.test/a', 'api.test', 'https://api.test//evil.test/a'],
  ])('%s of Host %s is sent to %s', async (target, host, location) => {
    expect(await ask(target, host)).toEqual([308, location])
    expect(await ask(target, host, 'POST')).toEqual([308, location])
  })

  it.each(['http://evil.test/', '/a\\b', '*'])('%s, which cannot be repeated, is 400', async (target) => {
    expect(await ask(target)).toEqual([400, undefined])
  })
})

describe('behind a balancer that terminates TLS', () => {
  const reported = (proto: string) => ({ 'x-forwarded-proto': proto, host: 'api.test' })

  it('who came by http is sent to https, method and all', async () => {
    for (const method of ['GET', 'POST']) {
      const { status, headers } = await call(behind, '/a?b=c', { method, headers: reported('http') })
      expect([status, headers.get('location'), headers.get('strict-transport-security')]).toEqual([308, 'https://api.test/a?b=c', null])
    }
    expect(upstream.take().filter(({ url }) => url.startsWith('/a?'))).toEqual([])
  })

  it('a request over https is served, with Strict-Transport-Security', async () => {
    const { status, headers, body } = await call(behind, '/a', { headers: reported('https') })
    expect([status, headers.get('strict-transport-security')]).toEqual([200, 'max-age=60; includeSubDomains'])
    expect(body.headers['x-forwarded-proto']).toBe('https')
  })

  it('of several schemes the nearest proxy’s counts', async () => {
    expect((await call(behind, '/a', { headers: reported('https, http') })).status).toBe(308)
    // the proxy sets X-Forwarded-Proto, so the client wrote Forwarded
    expect((await call(behind, '/a', { headers: { forwarded: 'for=192.0.2.1;proto=https' } })).status).toBe(308)
  })

  it('the balancer’s own look at /health needs no TLS', async () => {
    expect((await call(behind, '/health')).status).toBe(200)
  })
})
