import { describe, expect, it } from 'vitest'
import { layOut } from '../../../src/platform/mail/layout.ts'
import { createComposer, type Message } from '../../../src/platform/mail/message.ts'
import { waitSeconds } from '../../../src/platform/mail/sender.ts'
import { smtpOptions } from '../../../src/platform/mail/smtp.ts'
import { contentOf, type Templates } from '../../../src/platform/mail/templates.ts'
import { configWith } from '../../support/config.ts'

const HOSTILE = `<script>alert("1")</script>&'\r\nBcc: eve@example.com\u2028x`
const url = 'https://api.example.com/auth/password/reset#token=abc'
const context = { at: '2026-11-21T13:40:56.735Z', ip: HOSTILE, device: HOSTILE }
const DATA: Templates = {
  verify_email: { url, minutes: 1440, username: 'ann.smith', at: '2026-11-21T13:40:56.735Z', device: HOSTILE, more: [] },
  reset_password: { url, minutes: 30 },
  confirm_login: { url, minutes: 30, at: '2026-11-21T13:40:56.735Z', device: HOSTILE },
  already_registered: {},
  email_changed: context,
  password_changed: context,
  factor_enabled: context,
  factor_disabled: context,
  backup_code_used: { ...context, left: 1 },
  wrong_codes: { ...context, count: 3 },
  new_device: context,
  refresh_reused: context,
  api_key_created: { ...context, name: HOSTILE },
}
const NAMES = Object.keys(DATA) as (keyof Templates)[]
const made = <T extends keyof Templates>(template: T, data: Templates[T] = DATA[template]) =>
  layOut(contentOf<T>({ template, data }, 'Example'), 'Example')

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
    expect(() => contentOf({ template: 'toString' as 'new_device', data: context }, 'Example')).toThrow('there is no template toString')
  })
})

describe('the message of a mail', () => {
  const message = (to: string): Message => ({ id: 'id-1', to, template: 'new_device', data: context, writtenAt: new Date(context.at) })
  const compose = (mail: object, to = 'ann@example.com') =>
    createComposer(configWith({ server: { publicUrl: 'https://api.example.com:8443' }, mail }))(message(to))

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
