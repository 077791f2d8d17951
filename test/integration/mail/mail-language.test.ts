/** The language and the brand of mails: of the recipient, or of the request that asks for a link. */
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createComposer, type Message } from '../../../src/platform/mail/message.ts'
import { payloadLocation } from '../../../src/platform/mail/outbox.ts'
import { call, proveAddress } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import type { Gateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'

const brand = { name: 'Beispiel & Co.', accent: '#ffcc00', supportUrl: 'mailto:help@example.com' }
const gateway = useGateway({ config: { auth: { browser: { enabled: true, brand } } } })
const proving = useGateway({ config: { auth: { emailVerification: 'required', browser: { enabled: true } } } })
const plain = useGateway()

/** The mails to an address as a mail program shows them, oldest first. */
async function mimesTo({ app, messages }: Gateway, address: string) {
  const posted = await rows({ app }, 'SELECT * FROM outbox WHERE payload_sealed IS NOT NULL')
  const waiting = posted.map(({ id, user_id, template, payload_sealed, created_at }) => ({
    id,
    template,
    writtenAt: created_at,
    ...JSON.parse(app.platform.secrets.open(payloadLocation(id, user_id), payload_sealed).toString()),
  }))
  const all = new Map<string, Message>([...waiting, ...messages].map((mail) => [mail.id, mail]))
  const compose = createComposer(app.platform.config, app.platform.texts)
  return [...all.values()]
    .filter(({ to }) => to === address)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(compose)
}

const person = () => {
  const username = `l${randomBytes(5).toString('hex')}`
  return { username, email: `${username}@example.com`, password: `plain zebra ${randomBytes(6).toString('hex')}` }
}
type Headers = Record<string, string>
const GERMAN = { 'accept-language': 'de-DE,de;q=0.9,en;q=0.5' }
const ENGLISH = { 'accept-language': 'en-GB' }

async function registered(at: Gateway, headers: Headers = {}) {
  const body = person()
  const { status, body: answer } = await call(at, '/auth/register', { body, headers })
  expect(status).toBe(201)
  return { ...body, id: answer.user.id as string, token: answer.access_token as string }
}
const languageOf = async (at: Gateway, id: string) => (await rows(at, 'SELECT language FROM users WHERE id = $1', [id]))[0]!.language
const newest = async (at: Gateway, address: string, count: number) => {
  await until(async () => (await mimesTo(at, address)).length >= count, `${count} mails to ${address}`)
  return (await mimesTo(at, address)).at(-1)!
}

describe('with pages', () => {
  it('a registration keeps the language of its browser, and its mails have it', async () => {
    const user = await registered(gateway, GERMAN)
    expect(await languageOf(gateway, user.id)).toBe('de')
    const mail = await newest(gateway, user.email, 1)
    expect(mail.subject).toBe('Bestätigen Sie Ihre E-Mail-Adresse')
    expect(mail.html).toContain('<html lang="de">')
  })

  it('a later notice has the language of the user, whatever the request says', async () => {
    const user = await registered(gateway, GERMAN)
    await proveAddress(gateway, user)
    const change = { current_password: user.password, new_password: `another zebra ${randomBytes(6).toString('hex')}` }
    const { status } = await call(gateway, '/auth/password/change', { body: change, token: user.token, headers: ENGLISH })
    expect(status).toBe(200)
    const mail = await newest(gateway, user.email, 2)
    expect(mail.subject).toBe('Ihr Passwort wurde geändert')
    expect(mail.text).toContain('http://gateway.test/auth/ui/forgot')
  })

  it.each([
    [GERMAN, ENGLISH, 'Set a new password'],
    [ENGLISH, GERMAN, 'Neues Passwort setzen'],
    [GERMAN, {}, 'Neues Passwort setzen'],
    [{}, {}, 'Set a new password'],
    [{}, { cookie: 'portcullis-lang=de', 'accept-language': 'en' }, 'Neues Passwort setzen'],
  ] as [Headers, Headers, string][])('registered with %j, a link asked for with %j: %s', async (first, second, subject) => {
    const user = await registered(gateway, first)
    await call(gateway, '/auth/password/forgot', { body: { email: user.email }, headers: second })
    expect((await newest(gateway, user.email, 2)).subject).toBe(subject)
  })

  it('a language that is not listed is not kept', async () => {
    expect(await languageOf(gateway, (await registered(gateway, { 'accept-language': 'fr' })).id)).toBeNull()
    expect(await languageOf(gateway, (await registered(gateway)).id)).toBeNull()
  })

  it('has the name, the colour and the help of the brand', async () => {
    const user = await registered(gateway)
    const { text, html } = await newest(gateway, user.email, 1)
    expect(text).toContain('given to Beispiel & Co. for this account')
    expect(text).toContain('Help: help@example.com')
    expect(html).toContain('Beispiel &amp; Co.')
    expect(html).toContain('background: #ffcc00; color: #000000')
    expect(html).toContain('<a href="mailto:help@example.com">')
  })
})

it('a registration that waits for its address gets the language when the link is used', async () => {
  const body = person()
  expect((await call(proving, '/auth/register', { body, headers: GERMAN })).status).toBe(202)
  const mail = await newest(proving, body.email, 1)
  expect(mail.subject).toBe('Bestätigen Sie Ihre E-Mail-Adresse')
  const token = /#token=([\w-]+)/.exec(mail.text)![1]!
  const { status } = await call(proving, '/auth/email/verify', { body: { token, password: body.password }, headers: GERMAN })
  expect(status).toBeLessThan(300)
  const [user] = await rows(proving, 'SELECT language FROM users WHERE email = $1', [body.email])
  expect(user!.language).toBe('de')

  // the mail to the owner has the owner's language
  await call(proving, '/auth/register', { body: { ...person(), email: body.email }, headers: ENGLISH })
  const second = await newest(proving, body.email, 2)
  expect(second.subject).toBe('Sie haben schon ein Konto')
  expect(second.text).toContain('http://gateway.test/auth/ui/login')
})

it('without pages all mails have the first language, and no link of a page', async () => {
  const user = await registered(plain, GERMAN)
  expect(await languageOf(plain, user.id)).toBeNull()
  const mail = await newest(plain, user.email, 1)
  expect(mail.subject).toBe('Confirm your e-mail address')
  expect(mail.text).not.toContain('/auth/ui')
})
