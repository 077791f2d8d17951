/** The content of all mails, and the data that each of them needs. The texts are in src/platform/texts. */
import { countryName } from '../geo/country-codes.ts'
import { deviceIn } from '../texts/device-text.ts'
import type { TextKey } from '../texts/en.ts'
import type { Language } from '../texts/texts.ts'

/** Where and when an action on an account happened. */
export interface NoticeContext {
  /** RFC 3339. */
  at: string
  ip: string | null
  /** Such as `Firefox on Linux`. */
  device: string | null
  /** Two letters of ISO 3166-1, where the mail names the country. Null: unknown. */
  country?: string | null
}

interface Link {
  url: string
  minutes: number
}

/** The request for a link. The reader may be a stranger to it: the device is a name of a fixed list. */
interface Asked {
  /** Null: the account has no username. */
  username: string | null
  /** RFC 3339. */
  at: string
  device: string | null
}

/** Mails with a link, and the mail in place of a link. Their requests are counted by recipient. */
interface LinkTemplates {
  /** `more`: further registrations that wait for the address. */
  verify_email: Link & Asked & { more: (Asked & { url: string })[] }
  reset_password: Link
  /** For a login after an administrator removed the second factor, or from a new country. */
  confirm_login: Link & Omit<Asked, 'username'> & { country?: string | null }
  /** `url` null: the code alone. */
  email_login: Omit<Asked, 'username'> & { code: string; url: string | null; minutes: number }
  /** For a registration with an address that already has an account. The same work as for a link: the time shows no account. */
  already_registered: Record<string, never>
  /** An administrator invites a person. */
  invitation: Link
}

/** Notices of what the account itself did. They go only to a proven address. */
interface OwnTemplates {
  /** Sent to the old address. */
  email_changed: NoticeContext
  password_changed: NoticeContext
  factor_enabled: NoticeContext
  factor_disabled: NoticeContext
  backup_code_used: NoticeContext & { left: number }
  new_device: NoticeContext
  /** A known device in a country that is new for the account. */
  new_country: NoticeContext
  /** `auth.newCountry: deny`. The credentials were right. */
  login_refused: NoticeContext
  api_key_created: NoticeContext & { name: string }
  /** `provider`: the label of the configuration. */
  login_linked: NoticeContext & { provider: string }
  login_unlinked: NoticeContext & { provider: string }
  /** Without the name of the passkey: who has stolen a session may have chosen it. */
  passkey_added: NoticeContext
  passkey_removed: NoticeContext
}

/** Alerts about what another person may have done. They go to every address, so they hold no text that a user chose. */
interface AlertTemplates {
  /** `count` wrong codes in a row. */
  wrong_codes: NoticeContext & { count: number }
  /** A refresh token was presented a second time, and its session was ended. */
  refresh_reused: NoticeContext
}

export interface Templates extends LinkTemplates, OwnTemplates, AlertTemplates {}

type ClassOf<T extends keyof Templates> = T extends keyof LinkTemplates ? 'link' : T extends keyof AlertTemplates ? 'alert' : 'own'

/** `identity/users/mail-gate.ts` treats each class by its own rule. The compiler asks for the class of a new template. */
export const MAIL_CLASSES: { [T in keyof Templates]: ClassOf<T> } = {
  verify_email: 'link',
  reset_password: 'link',
  confirm_login: 'link',
  email_login: 'link',
  already_registered: 'link',
  invitation: 'link',
  email_changed: 'own',
  password_changed: 'own',
  factor_enabled: 'own',
  factor_disabled: 'own',
  backup_code_used: 'own',
  new_device: 'own',
  new_country: 'own',
  login_refused: 'own',
  api_key_created: 'own',
  login_linked: 'own',
  login_unlinked: 'own',
  passkey_added: 'own',
  passkey_removed: 'own',
  wrong_codes: 'alert',
  refresh_reused: 'alert',
}

/** The content of a mail, from which text and HTML are made. */
export interface Content {
  subject: string
  blocks: Block[]
}

export type Block = string | { label: string; url: string } | { facts: [name: string, value: string][] }

/** What all mails need beside their data. */
export interface MailContext {
  /** The name of the service. */
  service: string
  language: Language
  /** Pages that a mail leads to. Null without pages. */
  pages: { login: string; forgot: string } | null
}

type Template<T extends keyof Templates> = (data: Templates[T], context: MailContext) => Content

const life = (minutes: number, { code }: Language): string => {
  const [count, unit] = minutes >= 120 ? [Math.floor(minutes / 60), 'hour'] : [minutes, 'minute']
  return new Intl.NumberFormat(code, { style: 'unit', unit, unitDisplay: 'long' }).format(count)
}

/** English dates in their international order: day, month, year. */
const dateLocale = (code: string): string => (code === 'en' ? 'en-GB' : code)

function when(at: string, { code, text }: Language): string {
  const format = new Intl.DateTimeFormat(dateLocale(code), { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })
  return text('mail.when', { date: format.format(new Date(at)) })
}

type Fact = [name: string, value: string]

function factsOf({ at, ip, device, country }: NoticeContext, language: Language, more: Fact[] = []): Block {
  const { text } = language
  const facts: Fact[] = [...more, [text('mail.fact.when'), when(at, language)]]
  if (device !== null) facts.push([text('mail.fact.device'), deviceIn(device, language)])
  if (country) facts.push([text('mail.fact.country'), countryName(country, language.code)])
  if (ip !== null) facts.push([text('mail.fact.address'), ip])
  return { facts }
}

/** A username in a mail to an address that is not proven. No mail program makes a link of it. */
const withoutDots = (username: string): string => username.replaceAll('.', '·')

const askedBlocks = ({ url, username, at, device }: Asked & { url: string }, language: Language): Block[] => {
  const { text } = language
  const account: Fact[] = username === null ? [] : [[text('mail.fact.account'), withoutDots(username)]]
  return [factsOf({ at, ip: null, device }, language, account), { label: text('mail.verify_email.button'), url }]
}

/** The link to the page for a new password, for a reader who did not do what the mail reports. */
const newPassword = ({ language, pages }: MailContext): Block[] =>
  pages === null ? [] : [{ label: language.text('mail.new-password'), url: pages.forgot }]

interface NoticeTexts<T extends keyof Templates> {
  subject: TextKey
  text: TextKey | ((data: Templates[T]) => TextKey)
  values?: (data: Templates[T]) => Record<string, string | number>
  more?: (data: Templates[T], language: Language) => Fact[]
  /** Default: to set a new password. */
  advice?: TextKey
  /** False where a new password does not help. */
  linksToPassword?: boolean
}

/** Reports an action on the account: what, when and where, and what to do if the user did not do it. */
const notice =
  <T extends keyof Templates>(texts: NoticeTexts<T>): Template<T> =>
  (data, context) => {
    const { service, language } = context
    const { subject, text, values, more, advice = 'mail.not-you', linksToPassword = true } = texts
    const sentence = typeof text === 'function' ? text(data) : text
    return {
      subject: language.text(subject),
      blocks: [
        language.text(sentence, { ...values?.(data), service }),
        factsOf(data as NoticeContext, language, more?.(data, language)),
        language.text(advice),
        ...(linksToPassword ? newPassword(context) : []),
      ],
    }
  }

const TEMPLATES: { [T in keyof Templates]: Template<T> } = {
  verify_email: ({ minutes, more, ...first }, { service, language }) => ({
    subject: language.text('mail.verify_email.subject'),
    blocks: [
      language.text(more.length ? 'mail.verify_email.several' : 'mail.verify_email.one', { service }),
      ...[first, ...more].flatMap((asked) => askedBlocks(asked, language)),
      language.text('mail.verify_email.life', { life: life(minutes, language) }),
      language.text('mail.verify_email.not-you'),
    ],
  }),
  reset_password: ({ url, minutes }, { service, language }) => ({
    subject: language.text('mail.reset_password.subject'),
    blocks: [
      language.text('mail.reset_password.text', { service }),
      { label: language.text('mail.reset_password.button'), url },
      language.text('mail.link-life', { life: life(minutes, language) }),
      language.text('mail.reset_password.not-you'),
    ],
  }),
  confirm_login: ({ url, minutes, at, device, country = null }, { service, language }) => ({
    subject: language.text('mail.confirm_login.subject'),
    blocks: [
      language.text('mail.confirm_login.text', { service }),
      factsOf({ at, device, country, ip: null }, language),
      { label: language.text('mail.confirm_login.button'), url },
      language.text('mail.link-life', { life: life(minutes, language) }),
      language.text('mail.confirm_login.not-you'),
    ],
  }),
  email_login: ({ code, url, minutes, at, device }, { service, language }) => ({
    subject: language.text('mail.email_login.subject'),
    blocks: [
      language.text('mail.email_login.text', { service }),
      factsOf({ at, device, ip: null }, language, [[language.text('mail.fact.code'), code]]),
      ...(url === null ? [] : [language.text('mail.email_login.link'), { label: language.text('mail.log-in'), url }]),
      language.text(url === null ? 'mail.email_login.life' : 'mail.email_login.lives', { life: life(minutes, language) }),
      language.text('mail.email_login.not-you'),
    ],
  }),
  already_registered: (_data, { service, language, pages }) => ({
    subject: language.text('mail.already_registered.subject'),
    blocks: [
      language.text('mail.already_registered.text', { service }),
      language.text('mail.already_registered.advice'),
      ...(pages === null ? [] : [{ label: language.text('mail.log-in'), url: pages.login }]),
    ],
  }),
  invitation: ({ url, minutes }, { service, language }) => ({
    subject: language.text('mail.invitation.subject', { service }),
    blocks: [
      language.text('mail.invitation.text', { service }),
      { label: language.text('mail.invitation.button'), url },
      language.text('mail.link-life', { life: life(minutes, language) }),
      language.text('mail.invitation.not-you'),
    ],
  }),
  email_changed: notice({
    subject: 'mail.email_changed.subject',
    text: 'mail.email_changed.text',
    advice: 'mail.email_changed.not-you',
    linksToPassword: false,
  }),
  password_changed: notice({ subject: 'mail.password_changed.subject', text: 'mail.password_changed.text' }),
  factor_enabled: notice({ subject: 'mail.factor_enabled.subject', text: 'mail.factor_enabled.text' }),
  factor_disabled: notice({ subject: 'mail.factor_disabled.subject', text: 'mail.factor_disabled.text' }),
  backup_code_used: notice<'backup_code_used'>({
    subject: 'mail.backup_code_used.subject',
    text: ({ left }) =>
      left === 0 ? 'mail.backup_code_used.none' : left === 1 ? 'mail.backup_code_used.one' : 'mail.backup_code_used.several',
    values: ({ left }) => ({ left }),
  }),
  wrong_codes: notice<'wrong_codes'>({
    subject: 'mail.wrong_codes.subject',
    text: 'mail.wrong_codes.text',
    values: ({ count }) => ({ count }),
  }),
  new_device: notice({ subject: 'mail.new_device.subject', text: 'mail.new_device.text' }),
  new_country: notice({ subject: 'mail.new_country.subject', text: 'mail.new_country.text' }),
  login_refused: notice({ subject: 'mail.login_refused.subject', text: 'mail.login_refused.text', advice: 'mail.login_refused.not-you' }),
  refresh_reused: notice({ subject: 'mail.refresh_reused.subject', text: 'mail.refresh_reused.text' }),
  api_key_created: notice<'api_key_created'>({
    subject: 'mail.api_key_created.subject',
    text: 'mail.api_key_created.text',
    more: ({ name }, { text }) => [[text('mail.fact.name'), name]],
    advice: 'mail.api_key_created.not-you',
  }),
  login_linked: notice<'login_linked'>({
    subject: 'mail.login_linked.subject',
    text: 'mail.login_linked.text',
    values: ({ provider }) => ({ provider }),
    advice: 'mail.login_linked.not-you',
  }),
  login_unlinked: notice<'login_unlinked'>({
    subject: 'mail.login_unlinked.subject',
    text: 'mail.login_unlinked.text',
    values: ({ provider }) => ({ provider }),
  }),
  passkey_added: notice({
    subject: 'mail.passkey_added.subject',
    text: 'mail.passkey_added.text',
    advice: 'mail.passkey_added.not-you',
  }),
  passkey_removed: notice({
    subject: 'mail.passkey_removed.subject',
    text: 'mail.passkey_removed.text',
  }),
}

/** A template with its data. */
export type Filled<T extends keyof Templates = keyof Templates> = { [K in T]: { template: K; data: Templates[K] } }[T]

/** @throws for an unknown template: a newer version may have written the mail */
export function contentOf<T extends keyof Templates>({ template, data }: Filled<T>, context: MailContext): Content {
  if (!Object.hasOwn(TEMPLATES, template)) throw new Error(`there is no template ${template}`)
  return TEMPLATES[template](data, context)
}
