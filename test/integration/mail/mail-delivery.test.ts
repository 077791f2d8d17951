import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { inTransaction } from '../../../src/platform/db/database.ts'
import { createComposer } from '../../../src/platform/mail/message.ts'
import type { Mail } from '../../../src/platform/mail/outbox.ts'
import { createSender, type Sender } from '../../../src/platform/mail/sender.ts'
import { openTransport } from '../../../src/platform/mail/transport.ts'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { call } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { type MailServer, readMessage, startMailServer } from '../../support/mail-server.ts'
import { freePort, until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'

const TOKEN = randomBytes(32).toString('base64url')
const newAddress = () => `ann-${randomBytes(6).toString('hex')}@example.com`
const linkMail = (to: string, more: Partial<Mail> = {}): Mail =>
  ({
    template: 'reset_password',
    data: { url: `http://gateway.test/auth/password/reset#token=${TOKEN}`, minutes: 30 },
    to,
    userId: null,
    ...more,
  }) as Mail
const post = (gateway: Gateway, mail: Mail) => {
  const { db, outbox } = gateway.app.platform
  return inTransaction(db, (trx) => outbox.post(trx, mail))
}
const outboxOf = (gateway: Gateway) => rows(gateway, 'SELECT * FROM outbox ORDER BY id')
const theOne = async (gateway: Gateway) => (await outboxOf(gateway))[0]
/** What waits is due now: its back-off or lease is over. */
const makeDue = (gateway: Gateway) =>
  rows(gateway, 'UPDATE outbox SET next_attempt_at = now(), last_error = NULL WHERE payload_sealed IS NOT NULL')
const settled = (gateway: Gateway) =>
  until(async () => {
    await gateway.app.platform.sender.run()
    const [row] = await outboxOf(gateway)
    return row && row.payload_sealed === null && row
  }, 'the end of the mail')
const deferred = (gateway: Gateway, attempts = 1) =>
  until(async () => {
    await gateway.app.platform.sender.run()
    const row = await theOne(gateway)
    return row.attempts >= attempts && row.last_error && row
  }, 'a try that failed')
/** A sender beside the gateway's own, as another process has one. */
const anotherSender = (
  gateway: Gateway,
  transport = openTransport(
    gateway.app.platform.config,
    createComposer(gateway.app.platform.config, gateway.app.platform.texts),
    gateway.app.platform.logger,
  ),
): Sender => {
  const { db, secrets, metrics, logger } = gateway.app.platform
  return createSender({ db, secrets, metrics, logger, transport })
}

let server: MailServer
let gateway: Gateway
const start = (mail: object, stores: 'postgres' | 'embedded' = 'postgres') =>
  startGateway({
    stores,
    transport: 'configured',
    config: { log: { level: 'trace' }, mail: { from: 'Example <no-reply@example.com>', ...mail } },
  })
beforeEach(async () => {
  server = await startMailServer()
})
afterEach(async () => {
  await gateway?.close()
  await server.close()
})

describe.each(['postgres', 'embedded'] as const)('a mail on %s', (stores) => {
  let own: MailServer
  let shared: Gateway
  beforeAll(async () => {
    own = await startMailServer()
    shared = await start({ url: own.url }, stores)
  })
  afterAll(async () => {
    await shared.close()
    await own.close()
  })

  it('arrives once, with both its parts, and nothing of it is kept', async () => {
    const to = newAddress()
    await post(shared, linkMail(to))
    const row = await settled(shared)

    expect(own.mails).toHaveLength(1)
    const { from, to: recipients, headers, text, html } = own.mails[0]!
    expect([from, recipients]).toEqual(['no-reply@example.com', [to]])
    expect(headers.get('from')).toBe('Example <no-reply@example.com>')
    expect(headers.get('to')).toBe(to)
    expect(headers.get('subject')).toBe('Set a new password')
    expect(headers.get('message-id')).toBe(`<${row.id}@example.com>`)
    expect(headers.get('date')).toBe(row.created_at.toUTCString().replace('GMT', '+0000'))
    expect(headers.get('auto-submitted')).toBe('auto-generated')
    for (const part of [text, html]) expect(part).toContain(`http://gateway.test/auth/password/reset#token=${TOKEN}`)
    expect(html).toMatch(/^<!doctype html>/)

    expect(row).toMatchObject({ attempts: 1, failed_at: null, last_error: null })
    expect(row.sent_at).toBeInstanceOf(Date)
    expect(await metric(shared, 'portcullis_mails_total', { template: 'reset_password', outcome: 'sent' })).toBe(1)
  })

  it('of a transaction that is rolled back is never sent; two under one key are one', async () => {
    const { db, outbox, sender } = shared.app.platform
    const lost = inTransaction(db, async (trx) => {
      await outbox.post(trx, linkMail('lost@example.com'))
      throw new Error('rolled back')
    })
    await expect(lost).rejects.toThrow('rolled back')
    for (const to of ['first@example.com', 'second@example.com']) await post(shared, linkMail(to, { key: 'once' }))
    const recipients = await until(async () => {
      await sender.run()
      const all = own.mails.flatMap((m) => m.to)
      return all.includes('first@example.com') && all
    }, 'the mail')
    for (const other of ['lost@example.com', 'second@example.com']) expect(recipients).not.toContain(other)
    expect(await rows(shared, `SELECT 1 FROM outbox WHERE key = 'once'`)).toHaveLength(1)
  })
})

describe('a mail server that does not take it now', () => {
  it.each([
    ['greeting', 421],
    ['mail', 451],
    ['rcpt', 450],
    ['data', 452],
  ] as const)('at %s with %i gets it again later, under the same Message-ID', async (stage, code) => {
    server.refuse(stage, code)
    gateway = await start({ url: server.url })
    const to = newAddress()
    await post(gateway, linkMail(to))
    const first = await deferred(gateway)
    expect(first.next_attempt_at.getTime()).toBeGreaterThan(Date.now())
    expect(first.sent_at ?? first.failed_at).toBeNull()
    await makeDue(gateway)
    await deferred(gateway, 2)
    server.accept()
    await makeDue(gateway)
    const row = await settled(gateway)
    expect(row).toMatchObject({ attempts: 3, failed_at: null, last_error: null })
    expect(server.mails.map((m) => [m.to, m.headers.get('message-id')])).toEqual([[[to], `<${row.id}@example.com>`]])
    expect(await metric(gateway, 'portcullis_mails_total', { outcome: 'deferred' })).toBe(2)
  })

  it('because it is not there gets it once it is', async () => {
    const port = await freePort()
    gateway = await start({ url: `smtp://127.0.0.1:${port}` })
    await post(gateway, linkMail(newAddress()))
    expect((await deferred(gateway)).last_error).toMatch(/^ESOCKET/)
    const back = await startMailServer({}, port)
    await makeDue(gateway)
    await settled(gateway)
    expect(back.mails).toHaveLength(1)
    await back.close()
  })

  it('and goes on so is left alone at last: when the mail is of no use, or after fifty tries', async () => {
    server.refuse('rcpt', 451)
    gateway = await start({ url: server.url })
    await post(gateway, linkMail(newAddress(), { ttlSeconds: 1800 }))
    await deferred(gateway)
    await rows(gateway, 'UPDATE outbox SET expires_at = now(), next_attempt_at = now()')
    expect(await settled(gateway)).toMatchObject({ last_error: 'expired', sent_at: null })
    await rows(gateway, 'DELETE FROM outbox')
    await post(gateway, linkMail(newAddress()))
    await deferred(gateway)
    await rows(gateway, 'UPDATE outbox SET attempts = 49, next_attempt_at = now()')
    expect(await settled(gateway)).toMatchObject({ attempts: 50, last_error: 'EENVELOPE 451 RCPT TO', sent_at: null })
    for (const outcome of ['expired', 'exhausted']) expect(await metric(gateway, 'portcullis_mails_total', { outcome })).toBe(1)
  })

  it('is asked no later than the mail expires', async () => {
    server.refuse('rcpt', 451)
    gateway = await start({ url: server.url })
    await post(gateway, linkMail(newAddress(), { ttlSeconds: 600 }))
    await deferred(gateway)
    await rows(gateway, 'UPDATE outbox SET attempts = 20, last_error = NULL, next_attempt_at = now()')
    const row = await deferred(gateway, 21)
    expect(row.next_attempt_at).toEqual(row.expires_at)
  })
})

describe('a mail that is refused for good', () => {
  it.each([
    ['mail', 550, 'MAIL FROM'],
    ['rcpt', 550, 'RCPT TO'],
    ['data', 554, 'DATA'],
  ] as const)('at %s with %i is not tried again, and nothing of it is kept', async (stage, code, command) => {
    const to = newAddress()
    server.refuse(stage, code, `<${to}> is unknown here, and so is ${TOKEN}`)
    gateway = await start({ url: server.url })
    await post(gateway, linkMail(to))
    const row = await settled(gateway)
    expect(row).toMatchObject({
      attempts: 1,
      sent_at: null,
      last_error: `${stage === 'data' ? 'EMESSAGE' : 'EENVELOPE'} ${code} ${command}`,
    })
    expect(row.failed_at).toBeInstanceOf(Date)
    expect(await metric(gateway, 'portcullis_mails_total', { outcome: 'refused' })).toBe(1)
  })

  it.each([530, 535])('is not what %i says: that is about us', async (code) => {
    server.refuse('mail', code)
    gateway = await start({ url: server.url })
    await post(gateway, linkMail(newAddress()))
    await deferred(gateway)
    server.accept()
    await makeDue(gateway)
    await settled(gateway)
    expect(server.mails).toHaveLength(1)
  })

  it('costs the others nothing', async () => {
    gateway = await start({ url: server.url })
    const { db, outbox } = gateway.app.platform
    const good = Array.from({ length: 12 }, newAddress)
    await inTransaction(db, async (trx) => {
      for (const to of good) await outbox.post(trx, linkMail(to))
      await outbox.post(trx, { ...linkMail(newAddress()), template: 'of a newer version' } as never)
    })
    await until(() => server.mails.length === 12, 'the others')
    expect(server.mails.flatMap((m) => m.to).sort()).toEqual(good.sort())
    expect(server.connections()).toBeLessThanOrEqual(5)
  })
})

describe('several senders', () => {
  it('at once send each mail once', async () => {
    gateway = await start({ url: server.url })
    const { db, outbox } = gateway.app.platform
    const addresses = Array.from({ length: 60 }, newAddress)
    await inTransaction(db, async (trx) => {
      for (const to of addresses) await outbox.post(trx, linkMail(to))
    })
    await Promise.all(Array.from({ length: 4 }, () => anotherSender(gateway).run()))
    await until(() => server.mails.length >= 60, 'all the mails')
    expect(server.mails.flatMap((m) => m.to).sort()).toEqual(addresses.sort())
  })

  it('of which one is killed after the server’s answer and before it is stored: the next sends the mail again, as the same message', async () => {
    const { url } = server
    gateway = await startGateway({
      transport: { deliver: async () => expect.fail('it is somebody else’s'), close() {} },
      config: { mail: { url } },
    })
    const { config, texts, logger, db } = gateway.app.platform
    const smtp = openTransport(config, createComposer(config, texts), logger)
    let wasSent = () => {}
    const sent = new Promise<void>((resolve) => {
      wasSent = resolve
    })
    const dying = anotherSender(gateway, {
      async deliver(message, signal) {
        await smtp.deliver(message, signal)
        wasSent()
        return new Promise(() => {})
      },
      close() {},
    })
    // claimed before the gateway's own sender can look
    await inTransaction(db, async (trx) => gateway.app.platform.outbox.post(trx, linkMail(newAddress())))
    await rows(gateway, "UPDATE outbox SET next_attempt_at = now() + interval '1 hour'")
    gateway.app.platform.sender.stop()
    await makeDue(gateway)
    void dying.run()
    await sent
    expect(await theOne(gateway)).toMatchObject({ sent_at: null, attempts: 1 })

    // while the lease holds, nobody else has it
    const other = anotherSender(gateway, smtp)
    await other.run()
    expect(server.mails).toHaveLength(1)
    await makeDue(gateway)
    await other.run()
    expect(server.mails).toHaveLength(2)
    const [first, second] = server.mails.map(({ to, headers, text }) => [to, headers.get('message-id'), headers.get('date'), text])
    expect(second).toEqual(first)
    expect(await theOne(gateway)).toMatchObject({ attempts: 2, payload_sealed: null })
    smtp.close()
  })

  it('of which one is late do not disturb what the other has done', async () => {
    gateway = await start({ url: server.url })
    gateway.app.platform.sender.stop()
    let fail = (_: Error) => {}
    const lasting = new Promise<void>((_, reject) => {
      fail = reject
    })
    const slow = anotherSender(gateway, { deliver: () => lasting, close() {} })
    await post(gateway, linkMail(newAddress()))
    const run = slow.run()
    await until(async () => (await theOne(gateway)).attempts === 1, 'the claim')
    await makeDue(gateway)
    await anotherSender(gateway).run()
    const sent = await theOne(gateway)
    expect(sent).toMatchObject({ attempts: 2, payload_sealed: null })
    fail(new Error('too late'))
    await run
    expect(await theOne(gateway)).toEqual(sent)
  })
})

it('a mail server that never answers does not delay the stop, and the mail waits for the next start', async () => {
  server.hang()
  gateway = await start({ url: server.url })
  await post(gateway, linkMail(newAddress()))
  await until(() => server.connections() === 1, 'the connection')
  const { databaseUrl, secretKey } = gateway
  await gateway.close()
  gateway = await startGateway({ databaseUrl, secretKey })
  await makeDue(gateway)
  await until(() => gateway.messages.length === 1, 'the mail')
})

describe('TLS and credentials', () => {
  let authority: Authority
  let trusted: string[]
  beforeAll(async () => {
    authority = await createAuthority()
    trusted = tls.getCACertificates('default')
  })
  afterEach(() => tls.setDefaultCACertificates(trusted))
  afterAll(() => authority.close())
  const onAuth = (auth: { username?: string; password?: string }, _: unknown, done: (error: Error | null, answer?: object) => void) =>
    auth.username === 'ann' && auth.password === 'p@ss:word' ? done(null, { user: 'ann' }) : done(new Error('wrong: p@ss:word'))
  const withTls = async (more: object = {}) => {
    const { cert, key } = await authority.issue(['localhost'])
    await server.close()
    server = await startMailServer({ cert, key, disabledCommands: [], ...more })
  }
  const trustIt = () => tls.setDefaultCACertificates([...trusted, authority.cert])

  it('a server that offers no TLS gets nothing where it is required', async () => {
    gateway = await start({ url: server.url, startTls: 'required' })
    await post(gateway, linkMail(newAddress()))
    expect((await deferred(gateway)).last_error).toMatch(/^ETLS/)
    expect(server.mails).toEqual([])
  })

  it('a server with an untrusted certificate gets nothing, either', async () => {
    await withTls()
    gateway = await start({ url: server.url, startTls: 'required' })
    await post(gateway, linkMail(newAddress()))
    expect((await deferred(gateway)).last_error).toMatch(/^(ETLS|ESOCKET)/)
    expect(server.mails).toEqual([])
  })

  it('a server with a trusted certificate gets the mail encrypted, with the credentials', async () => {
    await withTls({ onAuth, authOptional: false, allowInsecureAuth: false })
    trustIt()
    gateway = await start({ url: server.url.replace('//', '//ann:p%40ss%3Aword@'), startTls: 'required' })
    await post(gateway, linkMail(newAddress()))
    await settled(gateway)
    expect(server.mails.map((m) => [m.isSecure, m.user])).toEqual([[true, 'ann']])
  })

  it('smtps:// is encrypted from the first byte', async () => {
    await withTls({ secure: true })
    trustIt()
    gateway = await start({ url: `smtps://127.0.0.1:${server.port}` })
    await post(gateway, linkMail(newAddress()))
    await settled(gateway)
    expect(server.mails.map((m) => m.isSecure)).toEqual([true])
  })

  it('a wrong password of the gateway loses no mail, and neither log nor row shows it', async () => {
    await withTls({ onAuth, authOptional: false })
    trustIt()
    gateway = await start({ url: server.url.replace('//', '//ann:wr0ng-pass@') })
    await post(gateway, linkMail(newAddress()))
    const { last_error } = await deferred(gateway)
    expect(last_error).toBe('EAUTH 535 AUTH PLAIN')
    const reported = JSON.stringify([gateway.log(), last_error])
    for (const secret of ['wr0ng-pass', 'p@ss:word']) expect(reported).not.toContain(secret)
  })
})

it('neither log nor row nor metrics show a recipient or a link', async () => {
  gateway = await start({ url: server.url })
  const to = newAddress()
  for (const [stage, code] of [
    ['rcpt', 450],
    ['data', 554],
  ] as const) {
    server.refuse(stage, code, `${to} ${TOKEN}`)
    await post(gateway, linkMail(to))
    await until(async () => (await outboxOf(gateway)).every((row) => row.last_error || !row.payload_sealed), 'the refusal')
    await makeDue(gateway)
  }
  server.accept()
  await post(gateway, linkMail(to))
  await until(() => server.mails.length > 0, 'the mail')
  const kept = await rows(gateway, 'SELECT o::text AS row FROM outbox o')
  const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
  const lines = gateway.log()
  expect(lines.map((l) => l.reason)).toEqual(expect.arrayContaining(['mail_deferred', 'mail_given_up']))
  for (const text of [JSON.stringify(lines), JSON.stringify(kept), metrics])
    for (const secret of [to, TOKEN]) expect(text).not.toContain(secret)
})

describe('without a mail server', () => {
  it('mails are files that their owner alone reads, and lines in the log that name no address', async () => {
    gateway = await start({})
    const to = newAddress()
    await post(gateway, linkMail(to))
    const row = await settled(gateway)
    const folder = join(gateway.app.platform.config.database.dataDir, 'outbox')
    const time = row.created_at.toISOString().replace(/[-:]|\.\d+/g, '')
    const name = `${time}-reset_password-${row.id}.eml`
    expect(readdirSync(folder)).toEqual([name])
    const file = join(folder, name)
    expect([statSync(folder).mode & 0o777, statSync(file).mode & 0o777]).toEqual([0o700, 0o600])
    const message = readMessage(readFileSync(file, 'utf8'))
    expect(message.headers.get('to')).toBe(to)
    for (const part of [message.text, message.html]) expect(part).toContain(TOKEN)
    const lines = gateway.log().filter((line) => line.file === file)
    expect(lines).toMatchObject([{ level: 'info', template: 'reset_password' }])
    for (const secret of [to, TOKEN]) expect(JSON.stringify(gateway.log())).not.toContain(secret)
  })
})

describe('an address with characters outside ASCII before the @', () => {
  const EMAIL = 'jörg@example.com'
  const register = (email: string) =>
    call(gateway, '/auth/register', {
      body: { username: `joerg${randomBytes(3).toString('hex')}`, email, password: 'plain zebra and so on' },
    })

  it('registers where the mail server offers SMTPUTF8, and gets its mail', async () => {
    gateway = await start({ url: server.url })
    expect((await register(EMAIL)).status).toBe(201)
    await settled(gateway)
    expect(server.mails.map(({ to }) => to)).toEqual([[EMAIL]])
  })

  it('is refused with a reason where the server does not, also as a new address; others register', async () => {
    const old = await startMailServer({ hideSMTPUTF8: true } as object)
    gateway = await start({ url: old.url })
    const refusal = { status: 422, body: { code: 'validation_failed', errors: [{ field: 'email', code: 'not_allowed' }] } }
    expect(await register(EMAIL)).toMatchObject(refusal)
    const entered = await register('joerg@example.com')
    expect(entered.status).toBe(201)
    const body = { email: EMAIL, current_password: 'plain zebra and so on' }
    expect(await call(gateway, '/auth/me', { method: 'PATCH', body, token: entered.body.access_token })).toMatchObject(refusal)
    // an account from before, such as an imported account: the mail is given up, and the log says why
    await post(gateway, linkMail(EMAIL))
    const given = await until(async () => {
      await gateway.app.platform.sender.run()
      return (await outboxOf(gateway)).find(({ last_error }) => last_error !== null)
    }, 'the refusal')
    expect(given).toMatchObject({ last_error: 'no SMTPUTF8', sent_at: null, payload_sealed: null })
    await old.close()
  })

  it('registers while the mail server gives no answer', async () => {
    gateway = await start({ url: `smtp://127.0.0.1:${await freePort()}` })
    expect((await register(EMAIL)).status).toBe(201)
  })
})
