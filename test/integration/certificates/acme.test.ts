/** Certificates from an ACME server, with a real one: pebble. Names are proven by http-01. */
import { randomBytes } from 'node:crypto'
import https from 'node:https'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { answers, certificateAfter, certificateOf, DOMAIN, getPlain, orders, startAcmeGateway } from '../../support/acme.ts'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { type Gateway, metric } from '../../support/gateway.ts'
import { BLOCKED_DOMAIN, PEBBLE, type Pebble, startPebble } from '../../support/pebble.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { type Relay, startRelay } from '../../support/relay.ts'
import { describeWith } from '../../support/tools.ts'

const DAY_MS = 86_400_000
const EXPIRY = 'portcullis_tls_certificate_expiry_timestamp_seconds'

describeWith(PEBBLE, 'http-01', () => {
  let authority: Authority
  let pebble: Pebble
  /** Where the ACME server asks: it leads to the gateway that was started last. */
  let port80: Relay
  let open: Gateway[] = []

  beforeAll(async () => {
    authority = await createAuthority('Pebble CA')
    port80 = await startRelay()
    pebble = await startPebble({ authority, httpPort: port80.port, tlsPort: 1, lifetimeSeconds: 90 * 86_400 })
  })
  afterAll(async () => {
    await Promise.all([...open.map((gateway) => gateway.close()), pebble?.close(), port80?.close()])
    authority?.close()
  })

  async function start(options: Parameters<typeof startAcmeGateway>[1] = {}) {
    const gateway = await startAcmeGateway(pebble, options)
    open.push(gateway)
    port80.target(gateway.httpPort)
    return gateway
  }
  async function close(...gateways: Gateway[]): Promise<void> {
    open = open.filter((gateway) => !gateways.includes(gateway))
    await Promise.all(gateways.map((gateway) => gateway.close()))
  }

  const lines = (gateway: Gateway, reason: string) => gateway.log().filter((line) => line.reason === reason)
  const certificateCheck = async (gateway: Gateway) => {
    const answer = await fetch(`${gateway.adminUrl}/readyz?verbose`)
    const { checks } = (await answer.json()) as { checks: { name: string; ok: boolean }[] }
    return { status: answer.status, ok: checks.find(({ name }) => name === 'certificate')!.ok }
  }
  const everyRow = (url: string) =>
    query<{ text: string }>(
      url,
      'SELECT a::text AS text FROM acme_accounts a UNION ALL SELECT c::text FROM acme_certificates c UNION ALL SELECT h::text FROM acme_challenges h',
    )

  describe('one gateway', () => {
    let gateway: Awaited<ReturnType<typeof start>>
    let secretKey: string
    let databaseUrl: string

    beforeAll(async () => {
      secretKey = randomBytes(32).toString('base64')
      databaseUrl = await createDatabase(inject('postgresUrl'))
    })

    it('starts without a certificate, fails TLS handshakes until it has one, and gets one for the configured names alone', async () => {
      gateway = await start({ secretKey, databaseUrl })
      await expect(certificateOf(gateway.port)).rejects.toThrow(/handshake failure/)
      expect(await certificateCheck(gateway)).toEqual({ status: 200, ok: false })
      expect(await metric(gateway, EXPIRY)).toBe(0)

      const certificate = await certificateAfter(gateway.port, null)
      expect(certificate.subjectaltname).toBe(`DNS:${DOMAIN}`)
      expect(certificate).toMatchObject({ asn1Curve: 'prime256v1' })
      const verified = await certificateOf(gateway.port, { ca: await pebble.root(), rejectUnauthorized: true })
      expect(verified.serialNumber).toBe(certificate.serialNumber)
      expect(await certificateCheck(gateway)).toEqual({ status: 200, ok: true })
      expect(await metric(gateway, EXPIRY)).toBe(Date.parse(certificate.valid_to) / 1000)
      expect(await orders(gateway, 'issued')).toBe(1)
      expect(await answers(gateway)).toBeGreaterThanOrEqual(1)
      expect(await metric(gateway, 'portcullis_acme_last_success_timestamp_seconds')).toBeGreaterThan(Date.now() / 1000 - 60)
      const dueAt = await metric(gateway, 'portcullis_acme_renewal_due_timestamp_seconds')
      expect(dueAt).toBeLessThanOrEqual(Date.now() / 1000 + 60 * 86_400)
      expect(dueAt).toBeGreaterThan(Date.now() / 1000 + 57 * 86_400)
    })

    it('writes who issued what into the audit log', async () => {
      const rows = await query(databaseUrl, "SELECT outcome, actor, detail FROM audit_log WHERE event = 'certificate_issue'")
      expect(rows).toEqual([
        { outcome: 'success', actor: 'gateway', detail: expect.stringMatching(`^${DOMAIN} by 127.0.0.1:\\d+, until 20`) },
      ])
    })

    it('shows no private key in its log or its tables', async () => {
      const text = JSON.stringify([await everyRow(databaseUrl), gateway.log()])
      expect(text).toContain('BEGIN CERTIFICATE')
      expect(text).not.toMatch(/PRIVATE KEY|"d":/)
      const sealed = await query(databaseUrl, 'SELECT key_sealed FROM acme_accounts UNION ALL SELECT key_sealed FROM acme_certificates')
      expect(sealed.map(({ key_sealed }) => String(key_sealed).slice(0, 3))).toEqual(['v1.', 'v1.'])
      expect(await query(databaseUrl, 'SELECT * FROM acme_challenges')).toEqual([])
    })

    it('answers for pending tokens on both listeners, before httpsOnly and every redirect', async () => {
      const token = randomBytes(24).toString('base64url')
      const path = `/.well-known/acme-challenge/${token}`
      expect(await getPlain(port80.port, path)).toMatchObject({ status: 308, headers: { location: `https://${DOMAIN}${path}` } })
      await query(databaseUrl, 'INSERT INTO acme_challenges VALUES ($1, $2, $3, $4, NULL, $5)', [
        token,
        'http-01',
        DOMAIN,
        `${token}.thumbprint`,
        new Date(Date.now() + 60_000),
      ])
      // a process that has just asked does not ask again for a moment
      const answer = await until(async () => {
        const found = await getPlain(port80.port, path)
        return found.status === 200 && found
      }, 'the answer')
      expect(answer).toMatchObject({ text: `${token}.thumbprint`, headers: { 'content-type': 'application/octet-stream' } })
      const secure = https.get({ host: '127.0.0.1', port: gateway.port, path, servername: DOMAIN, rejectUnauthorized: false, agent: false })
      const [status, text] = await new Promise<[number, string]>((resolve, reject) =>
        secure.on('error', reject).on('response', async (res) => resolve([res.statusCode!, Buffer.concat(await res.toArray()).toString()])),
      )
      expect([status, text]).toEqual([200, `${token}.thumbprint`])
      for (const other of [`${path}x`, `${path}/`, `${path}?a=1`, '/.well-known/acme-challenge/', '/.well-known/acme-challenge/..%2f'])
        expect((await getPlain(port80.port, other)).status, other).toBe(308)
      await query(databaseUrl, 'DELETE FROM acme_challenges')
      await until(async () => (await getPlain(port80.port, path)).status === 308, 'the token is forgotten')
    })

    it('asks the database for unknown tokens at most once a second', async () => {
      const reads = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select acme_challenges' })
      const [before, begun] = [await reads(), performance.now()]
      const ask = () => getPlain(port80.port, `/.well-known/acme-challenge/${randomBytes(24).toString('base64url')}`)
      for (let i = 0; i < 10; i++) {
        const found = await Promise.all(Array.from({ length: 20 }, ask))
        expect(new Set(found.map(({ status }) => status))).toEqual(new Set([308]))
      }
      // one a second for tokens, and one a second by itself
      expect((await reads()) - before).toBeLessThanOrEqual(2 * ((performance.now() - begun) / 1000) + 3)
    })

    it('renews after two thirds of the lifetime, and not before', async () => {
      const before = await certificateOf(gateway.port)
      gateway.clock.advance(57 * DAY_MS)
      const runs = () => metric(gateway, 'portcullis_db_query_duration_seconds_count', { operation: 'select acme_certificates' })
      const seen = await runs()
      // each process that serves reads once a second, and the one that orders once in two seconds
      await until(async () => (await runs()) > seen + 6, 'some looks')
      expect(await orders(gateway, 'issued')).toBe(1)
      gateway.clock.advance(4 * DAY_MS)
      const after = await certificateAfter(gateway.port, before)
      gateway.clock.advance(-61 * DAY_MS)
      expect(after.subjectaltname).toBe(`DNS:${DOMAIN}`)
      expect(after.pubkey).not.toEqual(before.pubkey)
    })

    it('keeps the certificate while the names change, and orders the new names at a reload', async () => {
      const before = await certificateOf(gateway.port)
      const domains = ['www.example.com', DOMAIN]
      expect(await gateway.reloadAcme({ domains })).toMatchObject({ status: 'reloaded', needsRestart: [] })
      expect((await certificateOf(gateway.port)).serialNumber).toBe(before.serialNumber)
      const after = await certificateAfter(gateway.port, before)
      expect(after.subjectaltname?.split(', ').sort()).toEqual([`DNS:${DOMAIN}`, 'DNS:www.example.com'])
    })

    it('a gateway that starts later uses the certificate of the database at once, under a new secret key too', async () => {
      const [issued, present] = [await orders(gateway, 'issued'), await certificateOf(gateway.port)]
      expect(issued).toBeGreaterThanOrEqual(3)
      await close(gateway)
      const before = await everyRow(databaseUrl)
      const nextKey = randomBytes(32).toString('base64')
      const domains = ['www.example.com', DOMAIN]
      const env = { PORTCULLIS_SECRET_KEY_PREVIOUS: secretKey }
      const changing = await start({ databaseUrl, secretKey: nextKey, env, acme: { domains } })
      expect((await certificateOf(changing.port)).serialNumber).toBe(present.serialNumber)
      await close(changing)
      const keyIds = (rows: { text: string }[]) => new Set(rows.flatMap(({ text }) => text.match(/v1\.[0-9a-f]{12}/g) ?? []))
      expect(keyIds(await everyRow(databaseUrl)).size).toBe(1)
      expect(keyIds(await everyRow(databaseUrl))).not.toEqual(keyIds(before))
      const changed = await start({ databaseUrl, secretKey: nextKey, acme: { domains } })
      expect((await certificateOf(changed.port)).serialNumber).toBe(present.serialNumber)
      await close(changed)
    })
  })

  it('several gateways: one orders, any of them answers the challenge, and all use the certificate', async () => {
    const shared = { databaseUrl: await createDatabase(inject('postgresUrl')), secretKey: randomBytes(32).toString('base64') }
    // this one has the port that the ACME server asks, and wants another name
    const answering = await start({ ...shared, acme: { domains: ['other.example.com'] } })
    await certificateAfter(answering.port, null)
    const asked = await answers(answering)
    const [one, two] = await Promise.all([startAcmeGateway(pebble, shared), startAcmeGateway(pebble, shared)])
    open.push(one, two)
    const [first, second] = await Promise.all([certificateAfter(one.port, null), certificateAfter(two.port, null)])
    expect(first.serialNumber).toBe(second.serialNumber)
    expect(first.subjectaltname).toBe(`DNS:${DOMAIN}`)
    expect((await orders(one, 'issued')) + (await orders(two, 'issued'))).toBe(1)
    expect(await answers(answering)).toBeGreaterThan(asked)
    expect((await answers(one)) + (await answers(two))).toBe(0)
    await close(one, two, answering)
  })

  it('a name that the ACME server refuses: logged once, tried again later and not at once, and a reload with other names tries at once', async () => {
    const gateway = await start({ acme: { domains: [BLOCKED_DOMAIN] } })
    await until(async () => (await orders(gateway, 'refused')) === 1, 'the refusal')
    expect(lines(gateway, 'acme_order_failed')).toEqual([
      expect.objectContaining({ level: 'error', outcome: 'refused', failures: 1, cause: expect.stringContaining('rejectedIdentifier') }),
    ])
    // between 96 and 144 s
    gateway.clock.advance(90_000)
    expect(await orders(gateway, 'refused')).toBe(1)
    gateway.clock.advance(60_000)
    await until(async () => (await orders(gateway, 'refused')) === 2, 'the second refusal')
    expect(lines(gateway, 'acme_order_failed')).toHaveLength(1)
    await gateway.reloadAcme({ domains: [DOMAIN] })
    expect((await certificateAfter(gateway.port, null)).subjectaltname).toBe(`DNS:${DOMAIN}`)
    await close(gateway)
  })

  it('while the ACME server is away the gateway serves with the certificate that it has, and renews when the server is back', async () => {
    const gateway = await start()
    const before = await certificateAfter(gateway.port, null)
    await pebble.stop()
    gateway.clock.advance(61 * DAY_MS)
    await until(async () => (await orders(gateway, 'unreachable')) === 1, 'the failed renewal')
    expect(lines(gateway, 'acme_order_failed')[0]).toMatchObject({ outcome: 'unreachable', cause: expect.stringContaining('ECONNREFUSED') })
    // beyond its end: an expired certificate is better than none
    gateway.clock.advance(60 * DAY_MS)
    await until(async () => (await orders(gateway, 'unreachable')) === 2, 'the second try')
    expect((await certificateOf(gateway.port)).serialNumber).toBe(before.serialNumber)
    // this pebble has forgotten the account: the same key opens another one
    await pebble.restart()
    gateway.clock.advance(-121 * DAY_MS + 61 * DAY_MS)
    gateway.clock.advance(10 * DAY_MS)
    await gateway.reloadAcme({})
    await certificateAfter(gateway.port, before)
    await close(gateway)
  })

  it('works with the embedded database', async () => {
    const gateway = await start({ stores: 'embedded' })
    expect((await certificateAfter(gateway.port, null)).subjectaltname).toBe(`DNS:${DOMAIN}`)
    await close(gateway)
  })

  it('binds the account to one that the ACME server knows', async () => {
    const kid = 'kid-1'
    const key = randomBytes(32).toString('base64url')
    const bound = await startPebble({ authority, httpPort: port80.port, tlsPort: 1, bindings: { [kid]: key } })
    try {
      const acme = { eab: { keyId: kid, hmacKeyEnv: 'ACME_HMAC_KEY' } }
      const gateway = await startAcmeGateway(bound, { acme, env: { ACME_HMAC_KEY: key } })
      port80.target(gateway.httpPort)
      open.push(gateway)
      await certificateAfter(gateway.port, null)
      expect(JSON.stringify([gateway.log(), await everyRow(gateway.databaseUrl)])).not.toContain(key)
      await close(gateway)
    } finally {
      await bound.close()
    }
  })
})
