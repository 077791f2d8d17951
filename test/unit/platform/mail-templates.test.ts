import { describe, expect, it } from 'vitest'
import { layOut, type MailLook } from '../../../src/platform/mail/layout.ts'
import { createComposer, type Message } from '../../../src/platform/mail/message.ts'
import { waitSeconds } from '../../../src/platform/mail/sender.ts'
import { smtpOptions } from '../../../src/platform/mail/smtp.ts'
import { contentOf, type MailContext, type Templates } from '../../../src/platform/mail/templates.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'
import { configWith } from '../../support/config.ts'

const HOSTILE = `<script>alert("1")</script>&'\r\nBcc: eve@example.com\u2028x`
const url = 'https://api.example.com/auth/password/reset#token=abc'
const context = { at: '2026-11-21T13:40:56.735Z', ip: HOSTILE, device: HOSTILE }
const DATA: Templates = {
  verify_email: { url, minutes: 1440, username: 'ann.smith', at: '2026-11-21T13:40:56.735Z', device: HOSTILE, more: [] },
  reset_password: { url, minutes: 30 },
  confirm_login: { url, minutes: 30, at: '2026-11-21T13:40:56.735Z', device: HOSTILE },
  email_login: { code: '048213', url, minutes: 10, at: '2026-11-21T13:40:56.735Z', device: HOSTILE },
  already_registered: {},
  invitation: { url, minutes: 10_080 },
  email_changed: context,
  password_changed: context,
  factor_enabled: context,
  factor_disabled: context,
  backup_code_used: { ...context, left: 1 },
  wrong_codes: { ...context, count: 3 },
  new_device: context,
  new_country: { ...context, country: 'FR' },
  login_refused: { ...context, country: null },
  refresh_reused: context,
  api_key_created: { ...context, name: HOSTILE },
  login_linked: { ...context, provider: HOSTILE },
  login_unlinked: { ...context, provider: HOSTILE },
  passkey_added: context,
  passkey_removed: context,
}
const NAMES = Object.keys(DATA) as (keyof Templates)[]
const texts = createTexts(['en', 'de'])
const CONTEXT: MailContext = { service: 'Example', language: texts.of('en'), pages: null }
const LOOK: MailLook = { service: 'Example', language: texts.of('en'), accent: '#1f5fbf', supportUrl: undefined }
const made = <T extends keyof Templates>(template: T, data: Templates[T] = DATA[template]) =>
  layOut(contentOf<T>({ template, data }, CONTEXT), LOOK)

/** What a person reads of it. */
const readable = (html: string) =>
  html
    .replace(/<head>[\s\S]*<\/head>/, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&(lt|gt|amp|quot|#39);/g, (_, name) => ({ lt: '<', gt: '>', amp: '&', quot: '"', '#39': "'" })[name as 'lt']!)
const words = (text: string) => text.split(/[\s:]+/).filter((word) => word && word !== '--')

describe('a mail', () => {
  it('with a link reads so, in text', () => {
    expect(made('reset_password').text).toBe(`Set a new password

A new password was requested for your account at Example. Choose it here:

https://api.example.com/auth/password/reset#token=abc

The link works once, for 30 minutes.

If you did not ask for this, do nothing: your password stays as it is.

-- 
This mail was sent by Example and needs no answer.
`)
  })

  it('about what was done to an account reads so, in text', () => {
    const { text } = made('api_key_created', { at: '2026-11-21T13:40:56.735Z', ip: '192.0.2.7', device: 'Firefox on Linux', name: 'CI' })
    expect(text).toBe(`An API key was made

An API key was made for your account at Example. Anyone who has the key can act in your name.

  Name: CI
  When: 21 November 2026 at 13:40 UTC
  Device: Firefox on Linux
  Address: 192.0.2.7

If this was not you, set a new password at once, and revoke the key: it stays valid after a password change.

-- 
This mail was sent by Example and needs no answer.
`)
  })

  it.each(NAMES)('%s says the same in both parts', (name) => {
    const { text, html } = made(name)
    const inHtml = new Set(words(readable(html)))
    expect(words(text).filter((word) => !inHtml.has(word))).toEqual([])
  })

  it.each(NAMES)('%s escapes values of users: no markup, no line of its own', (name) => {
    const { text, html } = made(name)
    expect(html).not.toMatch(/<script|<img|<link|<iframe|@import|url\(/i)
    expect(text).not.toMatch(/^Bcc/m)
    expect(text.includes('\r') || text.includes('\u2028')).toBe(false)
  })

  it.each(NAMES)('%s loads nothing, and leads nowhere but where its link says', (name) => {
    const { html } = made(name)
    const addresses = [...html.matchAll(/(?:href|src|action|background)="([^"]*)"/g)].map(([, to]) => to)
    expect(new Set(addresses)).toEqual(new Set('url' in DATA[name] ? [url] : []))
  })

  it('shows a link in full, and not only behind a word', () => {
    expect(readable(made('verify_email').html)).toContain(`Or open this address:  ${url}`)
  })

  it('leaves out what is not known', () => {
    const { text } = made('new_device', { at: context.at, ip: null, device: null })
    expect(text).not.toMatch(/Device:|Address:|null/)
  })

  it.each([
    [0, 'none is left'],
    [1, 'one is left'],
    [7, '7 are left'],
  ])('of a backup code says that %i remain', (left, said) => {
    expect(made('backup_code_used', { ...context, left }).text).toContain(said)
  })

  it('of a template that this version does not know is not made', () => {
    expect(() => contentOf({ template: 'toString' as 'new_device', data: context }, CONTEXT)).toThrow('there is no template toString')
  })
})

describe('a mail in German', () => {
  const german = texts.of('de')
  const pages = { login: 'https://api.example.com/auth/ui/login', forgot: 'https://api.example.com/auth/ui/forgot' }
  const inGerman = <T extends keyof Templates>(template: T, data: Templates[T] = DATA[template], more: Partial<MailLook> = {}) =>
    layOut(contentOf<T>({ template, data }, { service: 'Beispiel', language: german, pages }), {
      service: 'Beispiel',
      language: german,
      accent: '#1f5fbf',
      supportUrl: undefined,
      ...more,
    })

  it('has German words, dates and devices, and names its language', () => {
    const data = { at: '2026-11-21T13:40:56.735Z', ip: '192.0.2.7', device: 'Firefox on Linux', name: 'CI' }
    const { text, html } = inGerman('api_key_created', data)
    expect(text).toBe(`Ein API-Schlüssel wurde erzeugt

Für Ihr Konto bei Beispiel wurde ein API-Schlüssel erzeugt. Wer den Schlüssel hat, kann in Ihrem Namen handeln.

  Bezeichnung: CI
  Zeitpunkt: 21. November 2026 um 13:40 UTC
  Gerät: Firefox unter Linux
  IP-Adresse: 192.0.2.7

Wenn Sie das nicht waren, setzen Sie sofort ein neues Passwort, und widerrufen Sie den Schlüssel: Er gilt auch nach einer Änderung des Passworts.

https://api.example.com/auth/ui/forgot

-- 
Diese E-Mail wurde von Beispiel gesendet. Eine Antwort ist nicht nötig.
`)
    expect(html).toContain('<html lang="de">')
  })

  it.each([
    [1440, '24 Stunden'],
    [120, '2 Stunden'],
    [119, '119 Minuten'],
    [1, '1 Minute'],
  ])('says how long a link of %i minutes lives: %s', (minutes, life) => {
    expect(inGerman('reset_password', { url, minutes }).text).toContain(`Der Link gilt einmal, und zwar für ${life}.`)
  })

  it.each([
    ['An app on Android', 'Gerät: Eine App unter Android'],
    ['An app', 'Gerät: Eine App'],
    ['Chrome', 'Gerät: Chrome'],
    ['x on y on z', 'Gerät: x on y on z'],
    ['{system} on {browser}', 'Gerät: {system} unter {browser}'],
  ])('%s is shown as %s', (device, line) => {
    expect(inGerman('new_device', { at: context.at, ip: null, device }).text).toContain(line)
  })

  it.each(NAMES)('%s says the same in both parts, and nothing of the English mail', (name) => {
    const { text, html } = inGerman(name)
    const inHtml = new Set(words(readable(html)))
    expect(words(text).filter((word) => !inHtml.has(word))).toEqual([])
    expect(text).not.toMatch(/\b(the|your|was|account|page)\b/i)
  })

  it('leads to the pages of the service where it has some', () => {
    expect(inGerman('already_registered').text).toContain(pages.login)
    expect(inGerman('password_changed').text).toContain(pages.forgot)
    expect(inGerman('email_changed').text).not.toContain('https://')
  })
})

describe('the brand of a mail', () => {
  const withLook = (look: Partial<MailLook>) =>
    layOut(contentOf({ template: 'password_changed', data: context }, CONTEXT), { ...LOOK, ...look })

  it('names the help of the operator in both parts', () => {
    const { text, html } = withLook({ supportUrl: 'https://example.com/help?a=1&b=2' })
    expect(text).toContain('Help: https://example.com/help?a=1&b=2\n')
    expect(html).toContain('Help: <a href="https://example.com/help?a=1&amp;b=2">https://example.com/help?a=1&amp;b=2</a>')
    expect(withLook({ supportUrl: 'mailto:help@example.com' }).text).toContain('Help: help@example.com\n')
  })

  it('colours its buttons, with text that can be read', () => {
    const button = (accent: string) =>
      layOut(contentOf({ template: 'reset_password', data: { url, minutes: 30 } }, CONTEXT), { ...LOOK, accent }).html
    expect(button('#1f5fbf')).toContain('background: #1f5fbf; color: #ffffff')
    expect(button('#ffcc00')).toContain('background: #ffcc00; color: #000000')
  })
})

describe('the message of a mail', () => {
  const message = (to: string): Message => ({ id: 'id-1', to, template: 'new_device', data: context, writtenAt: new Date(context.at) })
  const compose = (mail: object, to = 'ann@example.com') =>
    createComposer(configWith({ server: { publicUrl: 'https://api.example.com:8443' }, mail }), texts)(message(to))

  it('has the same Message-ID and date however often it is made', () => {
    const [first, second] = [compose({}), compose({})]
    expect(first).toEqual(second)
    expect(first).toMatchObject({ messageId: '<id-1@api.example.com>', date: new Date(context.at) })
  })

  it.each([
    [undefined, { name: '', address: 'no-reply@api.example.com' }, 'api.example.com'],
    ['mail@example.com', { name: '', address: 'mail@example.com' }, 'api.example.com'],
    ['Example <no-reply@example.com>', { name: 'Example', address: 'no-reply@example.com' }, 'Example'],
    ['Ärzte & Co. <no-reply@example.com>', { name: 'Ärzte & Co.', address: 'no-reply@example.com' }, 'Ärzte & Co.'],
  ])('from %s is from, and speaks of, whom it says', (from, expected, service) => {
    const message = compose(from === undefined ? {} : { from })
    expect(message.from).toEqual(expected)
    expect(message.text).toContain(`sent by ${service} and`)
  })

  it('goes to one address, whatever it looks like', () => {
    expect(compose({}, 'a@example.com, b@example.com').to).toEqual({ name: '', address: 'a@example.com, b@example.com' })
  })
})

it.each([
  'Example <no-reply@example.com>\nBcc: eve@example.com',
  'Example\r\nX: y <no-reply@example.com>',
  'a@example.com, b@example.com',
  'no address',
  '<>',
])('a sender of %j is refused', (from) => {
  expect(() => configWith({ mail: { from } })).toThrow(/mail\.from/)
})

describe('the mail server of the configuration', () => {
  it.each([
    ['smtp://mail.example.com', undefined, true, true, 587],
    ['smtp://mail.example.com:25', 'optional', false, false, 25],
    ['smtp://localhost:1025', undefined, false, false, 1025],
    ['smtp://127.0.0.1', undefined, false, false, 587],
    ['smtp://[::1]:25', undefined, false, false, 25],
    ['smtp://127.0.0.1', 'required', true, true, 587],
    ['smtp://127.0.0.1.example.com', undefined, true, true, 587],
    ['smtp://localhost.example.com', undefined, true, true, 587],
  ] as const)('%s with startTls %s: STARTTLS required %s, certificate verified %s', (url, startTls, requireTLS, isVerified, port) => {
    expect(smtpOptions(url, startTls)).toMatchObject({ requireTLS, tls: { rejectUnauthorized: isVerified }, port, secure: false })
  })

  it('smtps:// is TLS from the start, and always verified', () => {
    const options = smtpOptions('smtps://127.0.0.1', undefined)
    expect(options).toMatchObject({ secure: true, port: 465, tls: { rejectUnauthorized: true } })
  })

  it('has its user and password decoded', () => {
    expect(smtpOptions('smtp://ann%40example.com:p%3A%2Fw@mail.example.com', undefined).auth).toEqual({
      user: 'ann@example.com',
      pass: 'p:/w',
    })
  })

  it.each([
    'smtp://',
    'smtp://u:s3cr3t%zz@h',
    'http://u:s3cr3t@mail',
    'smtp://u:s3cr3t@h/x?tls.rejectUnauthorized=false',
  ])('%s is refused, and not repeated', (url) => {
    expect(() => configWith({ mail: { url } })).toThrow(/mail\.url: (?!.*s3cr3t)/)
  })
})

it('waits 5 seconds, doubled by each attempt up to an hour, up to half of it less', () => {
  expect([1, 2, 3, 8, 11, 50].map((n) => waitSeconds(n, () => 0))).toEqual([5, 10, 20, 640, 3600, 3600])
  expect(waitSeconds(1, () => 1)).toBe(2.5)
})
