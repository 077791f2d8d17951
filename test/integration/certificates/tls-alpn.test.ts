/** TLS-ALPN-01 (RFC 8737) on the listener that serves: an ordinary client never sees the certificate of a challenge. */
import { once } from 'node:events'
import net from 'node:net'
import acme from 'acme-client'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { challengeKeyAt } from '../../../src/platform/acme/acme-keys.ts'
import {
  type AcmeGateway,
  answers,
  certificateAfter,
  certificateOf,
  DOMAIN,
  handshake,
  orders,
  startAcmeGateway,
} from '../../support/acme.ts'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { get, startGatewayProcess } from '../../support/gateway-process.ts'
import { PEBBLE, type Pebble, startPebble } from '../../support/pebble.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { describeWith } from '../../support/tools.ts'

const DAY_MS = 86_400_000
const TLS_ALPN = ['acme-tls/1']

describeWith(PEBBLE, 'tls-alpn-01', () => {
  let authority: Authority
  let pebble: Pebble
  /** Where the ACME server asks. */
  let port443: Relay
  let gateway: AcmeGateway

  beforeAll(async () => {
    authority = await createAuthority('Pebble CA')
    port443 = await startRelay()
    pebble = await startPebble({ authority, httpPort: 1, tlsPort: port443.port, lifetimeSeconds: 6 * 86_400 })
    gateway = await startAcmeGateway(pebble, { acme: { challenges: ['tls-alpn-01'] }, server: { headersTimeoutMs: 1500 } })
    port443.target(gateway.port)
    await certificateAfter(gateway.port, null)
  })
  afterAll(async () => {
    await gateway?.close()
    await Promise.all([pebble?.close(), port443?.close()])
    authority?.close()
  })

  it('gets the first certificate, which proves that the listener answers before it has one', async () => {
    expect((await certificateOf(gateway.port)).subjectaltname).toBe(`DNS:${DOMAIN}`)
    expect(await answers(gateway)).toBeGreaterThanOrEqual(1)
  })

  it('renews a certificate of six days after three, while ordinary clients get the ordinary certificate', async () => {
    const before = await certificateOf(gateway.port)
    const [issued, answered] = [await orders(gateway, 'issued'), await answers(gateway)]
    const seen = new Set<string>()
    let isRunning = true
    const clients = Promise.all(
      [undefined, ['http/1.1'], ['acme-tls/1', 'http/1.1']].map(async (protocols) => {
        while (isRunning) seen.add(String((await certificateOf(gateway.port, protocols && { ALPNProtocols: protocols })).issuer.CN))
      }),
    )
    // pebble proves a name again for every second order only: until one has needed a challenge
    for (let after = before; (await answers(gateway)) === answered; ) {
      gateway.clock.advance(3.1 * DAY_MS)
      after = await certificateAfter(gateway.port, after)
      gateway.clock.advance(-3.1 * DAY_MS)
    }
    isRunning = false
    await clients
    expect(await orders(gateway, 'issued')).toBeGreaterThan(issued)
    expect([...seen]).toEqual([expect.stringMatching(/^Pebble Intermediate CA/)])
  })

  /** Makes a challenge pending, as one of the gateways does. */
  async function publish(domain: string): Promise<void> {
    const token = 'a'.repeat(43)
    const authorization = { identifier: { type: 'dns', value: domain } } as Parameters<typeof acme.crypto.createAlpnCertificate>[0]
    const key = await acme.crypto.createPrivateEcdsaKey()
    const [, certificate] = await acme.crypto.createAlpnCertificate(authorization, `${token}.x`, key)
    const sealed = gateway.app.platform.secrets.seal(challengeKeyAt(token), Buffer.from(`${certificate}\n${key}`))
    await query(gateway.databaseUrl, 'INSERT INTO acme_challenges VALUES ($1, $2, $3, $4, $5, $6)', [
      token,
      'tls-alpn-01',
      domain,
      `${token}.x`,
      sealed,
      new Date(gateway.clock.now() + 60_000),
    ])
    const offered = { servername: domain, ALPNProtocols: TLS_ALPN }
    await until(() => certificateOf(gateway.port, offered).then(() => true), 'the challenge')
  }

  it('refuses acme-tls/1 without a pending challenge', async () => {
    await expect(certificateOf(gateway.port, { ALPNProtocols: TLS_ALPN })).rejects.toThrow(/no application protocol/i)
  })

  it('shows the certificate of a challenge to a client that asks for nothing else, and closes without a byte', async () => {
    await publish('pending.example.com')
    const socket = await handshake(gateway.port, { servername: 'pending.example.com', ALPNProtocols: TLS_ALPN })
    const { subjectaltname, raw } = socket.getPeerCertificate()
    expect(subjectaltname).toBe('DNS:pending.example.com')
    // RFC 8737 §3: id-pe-acmeIdentifier 1.3.6.1.5.5.7.1.31, critical
    expect(raw.toString('hex')).toContain('06082b0601050507011f0101ff')
    socket.write('GET /health HTTP/1.1\r\nhost: pending.example.com\r\n\r\n')
    const bytes: Buffer[] = []
    socket.on('data', (chunk) => bytes.push(chunk)).on('error', () => undefined)
    await once(socket, 'close')
    expect(bytes).toEqual([])
  })

  it('gives ordinary clients the ordinary certificate meanwhile, also under the name of the challenge', async () => {
    for (const options of [
      { servername: 'pending.example.com' },
      { servername: 'pending.example.com', ALPNProtocols: ['http/1.1'] },
      { servername: 'pending.example.com', ALPNProtocols: ['acme-tls/1', 'http/1.1'] },
      { servername: DOMAIN },
      { servername: '' },
      { servername: DOMAIN, maxVersion: 'TLSv1.2' as const },
    ])
      expect((await certificateOf(gateway.port, options)).issuer.CN, JSON.stringify(options)).toMatch(/^Pebble Intermediate/)
    // a challenge for another name than the one that is pending
    await expect(certificateOf(gateway.port, { ALPNProtocols: TLS_ALPN })).rejects.toThrow(/no application protocol/i)
  })

  it('waits for a first message in pieces, and not for a client that sends none', async () => {
    const silent = net.connect(gateway.port, '127.0.0.1')
    const garbage = net.connect(gateway.port, '127.0.0.1')
    await once(garbage, 'connect')
    garbage.on('error', () => undefined).end('GET / HTTP/1.1\r\n\r\n')
    const closed = [once(silent.resume(), 'close'), once(garbage.resume(), 'close')]
    const slow = net.connect(gateway.port, '127.0.0.1')
    await once(slow, 'connect')
    const capture = net.createServer().listen(0, '127.0.0.1')
    await once(capture, 'listening')
    const { port } = capture.address() as net.AddressInfo
    const client = handshake(port, { servername: DOMAIN }).catch((error) => error)
    const [first] = (await once(capture, 'connection')) as [net.Socket]
    const [hello] = (await once(first, 'data')) as [Buffer]
    for (const byte of [hello.subarray(0, 1), hello.subarray(1, 5), hello.subarray(5, 60), hello.subarray(60)]) {
      slow.write(byte)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const [answer] = (await once(slow, 'data')) as [Buffer]
    // a handshake record, not an alert
    expect(answer[0]).toBe(22)
    slow.destroy()
    first.destroy()
    capture.close()
    await client
    await Promise.all(closed)
    expect((await certificateOf(gateway.port)).issuer.CN).toMatch(/^Pebble Intermediate/)
    await query(gateway.databaseUrl, 'DELETE FROM acme_challenges')
  })

  it('works with several workers: each of them answers, and each uses the certificate without a restart', async () => {
    const databaseUrl = await createDatabase(inject('postgresUrl'))
    const acmeTls = {
      domains: [DOMAIN],
      termsOfServiceAgreed: true,
      directoryUrl: pebble.directoryUrl,
      ca: pebble.ca,
      challenges: ['tls-alpn-01', 'http-01'],
    }
    const process = await startGatewayProcess({
      routes: [],
      server: { workers: 2, publicUrl: `https://${DOMAIN}`, shutdownDelayMs: 0, tls: { acme: acmeTls, reloadSeconds: 1 } },
      stores: { databaseUrl, redisUrl: inject('redisUrl') },
    })
    try {
      port443.target(process.port)
      const { serialNumber } = await certificateAfter(process.port, null)
      // new connections come to both workers in turn
      await until(async () => {
        const found = await Promise.all(Array.from({ length: 6 }, () => certificateOf(process.port)))
        return found.every((certificate) => certificate.serialNumber === serialNumber)
      }, 'both workers')
      const metrics = await get(`${process.adminUrl}/metrics`)
      expect(metrics).toMatch(/^portcullis_acme_orders_total\{outcome="issued"\} 1$/m)
      expect(metrics).toMatch(/^portcullis_acme_last_success_timestamp_seconds 1\d{9}/m)
      expect(metrics).toMatch(/^portcullis_acme_renewal_due_timestamp_seconds 1\d{9}/m)
      expect(metrics).toMatch(/^portcullis_tls_certificate_expiry_timestamp_seconds 1\d{9}/m)
      expect(process.complaints()).toEqual([])
      expect(process.logLines().join('\n')).not.toMatch(/PRIVATE KEY/)
    } finally {
      port443.target(gateway.port)
      await process.stop()
    }
  })
})
