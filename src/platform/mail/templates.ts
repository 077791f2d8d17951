/** What users are written: what each mail needs to be told, and what it says. */

/** Where and when something was done to an account. */
export interface NoticeContext {
  /** RFC 3339. */
  at: string
  ip: string | null
  /** Such as `Firefox on Linux`. */
  device: string | null
}

interface Link {
  url: string
  minutes: number
}

export interface Templates {
  verify_email: Link
  reset_password: Link
  /** Somebody registers with an address that has an account. */
  already_registered: Record<string, never>
  /** To the old address. */
  email_changed: NoticeContext
  password_changed: NoticeContext
  factor_enabled: NoticeContext
  factor_disabled: NoticeContext
  backup_code_used: NoticeContext & { left: number }
  new_device: NoticeContext
  /** A refresh token was presented a second time: its session was ended. */
  refresh_reused: NoticeContext
  api_key_created: NoticeContext & { name: string }
}

/** A mail before it is text or HTML: both are made of this. */
export interface Content {
  subject: string
  blocks: Block[]
}

export type Block = string | { label: string; url: string } | { facts: [name: string, value: string][] }

type Template<T extends keyof Templates> = (data: Templates[T], service: string) => Content

const life = (minutes: number): string => {
  const [count, unit] = minutes >= 120 ? [Math.floor(minutes / 60), 'hour'] : [minutes, 'minute']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

const WHEN = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })

const factsOf = ({ at, ip, device }: NoticeContext, more: [string, string][] = []): Block => ({
  facts: [
    ...more,
    ['When', `${WHEN.format(new Date(at))} UTC`],
    ...(device === null ? [] : [['Device', device] as [string, string]]),
    ...(ip === null ? [] : [['Address', ip] as [string, string]]),
  ],
})

const NOT_YOU = 'If this was not you, set a new password at once: it ends every session of your account.'

/** Something was done to the account: what it was, where and when, and what to do if it was somebody else. */
const notice =
  <T extends keyof Templates>(subject: string, sentence: (service: string, data: Templates[T]) => string, advice = NOT_YOU): Template<T> =>
  (data, service) => ({ subject, blocks: [sentence(service, data), factsOf(data as NoticeContext), advice] })

const TEMPLATES: { [T in keyof Templates]: Template<T> } = {
  verify_email: ({ url, minutes }, service) => ({
    subject: 'Confirm your e-mail address',
    blocks: [
      `This address was given to ${service}. Confirm that it is yours:`,
      { label: 'Confirm the address', url },
      `The link works once, for ${life(minutes)}.`,
      'If you did not ask for this, do nothing: without you it stays unconfirmed.',
    ],
  }),
  reset_password: ({ url, minutes }, service) => ({
    subject: 'Set a new password',
    blocks: [
      `A new password was asked for, for your account at ${service}. Choose it here:`,
      { label: 'Set a new password', url },
      `The link works once, for ${life(minutes)}.`,
      'If you did not ask for this, do nothing: your password stays as it is.',
    ],
  }),
  already_registered: (_data, service) => ({
    subject: 'You have an account already',
    blocks: [
      `Somebody gave this address to ${service} for an account. You have one already, so nothing was changed.`,
      'If it was you: log in, or ask for a new password if you have forgotten yours. If not, there is nothing to do.',
    ],
  }),
  email_changed: notice(
    'Your e-mail address was changed',
    (service) => `Your account at ${service} has a new e-mail address. This one no longer belongs to it.`,
    `If this was not you, answer those who run the service at once: with the new address somebody can set a new password.`,
  ),
  password_changed: notice('Your password was changed', (service) => `The password of your account at ${service} was changed.`),
  factor_enabled: notice(
    'A second factor was set up',
    (service) => `Logging in to ${service} now asks for a code of your authenticator app.`,
  ),
  factor_disabled: notice(
    'The second factor was removed',
    (service) => `Logging in to ${service} no longer asks for a code: the password is enough.`,
  ),
  backup_code_used: notice<'backup_code_used'>(
    'A backup code was used',
    (service, { left }) =>
      `A backup code was used at ${service}; ${left === 0 ? 'none is' : left === 1 ? 'one is' : `${left} are`} left. Make new ones when you run short.`,
  ),
  new_device: notice(
    'A new device logged in',
    (service) => `Your account at ${service} was logged in to from a device that we do not know.`,
  ),
  refresh_reused: notice(
    'A session was ended for your safety',
    (service) => `A key that keeps a device logged in to ${service} was used twice: somebody may have copied it. That session was ended.`,
  ),
  api_key_created: ({ name, ...occasion }, service) => ({
    subject: 'An API key was made',
    blocks: [
      `An API key was made for your account at ${service}. Whoever has it can act in your name.`,
      factsOf(occasion, [['Name', name]]),
      'If this was not you, set a new password at once, and revoke the key: it outlives the password.',
    ],
  }),
}

/** A template with its data. */
export type Filled<T extends keyof Templates = keyof Templates> = { [K in T]: { template: K; data: Templates[K] } }[T]

/** @throws for a name that this version does not know: a newer one may have written it */
export function contentOf<T extends keyof Templates>({ template, data }: Filled<T>, service: string): Content {
  if (!Object.hasOwn(TEMPLATES, template)) throw new Error(`there is no template ${template}`)
  return TEMPLATES[template](data, service)
}
