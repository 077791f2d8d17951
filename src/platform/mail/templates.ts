/** The texts of all mails, and the data that each of them needs. */

/** Where and when an action on an account happened. */
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
  /** For a login after an administrator removed the second factor. */
  confirm_login: Link & Omit<Asked, 'username'>
  /** For a registration with an address that already has an account. The same work as for a link: the time shows no account. */
  already_registered: Record<string, never>
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
  api_key_created: NoticeContext & { name: string }
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
  already_registered: 'link',
  email_changed: 'own',
  password_changed: 'own',
  factor_enabled: 'own',
  factor_disabled: 'own',
  backup_code_used: 'own',
  new_device: 'own',
  api_key_created: 'own',
  wrong_codes: 'alert',
  refresh_reused: 'alert',
}

/** The content of a mail, from which text and HTML are made. */
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

/** A username in a mail to an address that is not proven. No mail program makes a link of it. */
const withoutDots = (username: string): string => username.replaceAll('.', '·')

const askedBlocks = ({ url, username, at, device }: Asked & { url: string }): Block[] => [
  {
    facts: [
      ...(username === null ? [] : [['Account', withoutDots(username)] as [string, string]]),
      ['When', `${WHEN.format(new Date(at))} UTC`],
      ...(device === null ? [] : [['Device', device] as [string, string]]),
    ],
  },
  { label: 'Confirm the address', url },
]

const NOT_YOU = 'If this was not you, set a new password at once: it ends every session of your account.'

/** Reports an action on the account: what, when and where, and what to do if the user did not do it. */
const notice =
  <T extends keyof Templates>(subject: string, sentence: (service: string, data: Templates[T]) => string, advice = NOT_YOU): Template<T> =>
  (data, service) => ({ subject, blocks: [sentence(service, data), factsOf(data as NoticeContext), advice] })

const TEMPLATES: { [T in keyof Templates]: Template<T> } = {
  verify_email: ({ minutes, more, ...first }, service) => ({
    subject: 'Confirm your e-mail address',
    blocks: [
      more.length
        ? `This address was given to ${service} for several accounts. Only one of them can have it. Confirm the account that you made:`
        : `This address was given to ${service} for this account:`,
      ...[first, ...more].flatMap(askedBlocks),
      `The page asks for the password of the account. The link works once, for ${life(minutes)}.`,
      'If you did not make this account, do nothing: the address then stays unconfirmed.',
    ],
  }),
  reset_password: ({ url, minutes }, service) => ({
    subject: 'Set a new password',
    blocks: [
      `A new password was requested for your account at ${service}. Choose it here:`,
      { label: 'Set a new password', url },
      `The link works once, for ${life(minutes)}.`,
      'If you did not ask for this, do nothing: your password stays as it is.',
    ],
  }),
  confirm_login: ({ url, minutes, at, device }, service) => ({
    subject: 'Confirm your login',
    blocks: [
      `Your password was used to log in to ${service}. An administrator has removed your second factor, so this login needs your confirmation:`,
      factsOf({ at, device, ip: null }),
      { label: 'Confirm the login', url },
      `The link works once, for ${life(minutes)}.`,
      'If it was not you, do not open the link. Set a new password at once, and contact the operators of the service.',
    ],
  }),
  already_registered: (_data, service) => ({
    subject: 'You have an account already',
    blocks: [
      `Someone asked for an account at ${service} with this address. You have an account already, so nothing was changed.`,
      'If it was you: log in, or ask for a new password if you have forgotten yours. If not, there is nothing to do.',
    ],
  }),
  email_changed: notice(
    'Your e-mail address was changed',
    (service) => `Your account at ${service} has a new e-mail address. This one no longer belongs to it.`,
    'If this was not you, contact the operators of the service at once: the owner of the new address can set a new password.',
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
  wrong_codes: ({ count, ...context }, service) => ({
    subject: 'Wrong codes were entered for your account',
    blocks: [
      `${count} wrong codes in a row were entered for the second factor of your account at ${service}. A person who enters codes knows your password, or uses a device that is logged in.`,
      factsOf(context),
      NOT_YOU,
    ],
  }),
  new_device: notice(
    'A new device logged in',
    (service) => `Your account at ${service} was logged in to from a device that we do not know.`,
  ),
  refresh_reused: notice(
    'A session was ended for your safety',
    (service) => `A key that keeps a device logged in to ${service} was used twice: someone may have copied it. That session was ended.`,
  ),
  api_key_created: ({ name, ...context }, service) => ({
    subject: 'An API key was made',
    blocks: [
      `An API key was made for your account at ${service}. Anyone who has the key can act in your name.`,
      factsOf(context, [['Name', name]]),
      'If this was not you, set a new password at once, and revoke the key: it stays valid after a password change.',
    ],
  }),
}

/** A template with its data. */
export type Filled<T extends keyof Templates = keyof Templates> = { [K in T]: { template: K; data: Templates[K] } }[T]

/** @throws for an unknown template: a newer version may have written the mail */
export function contentOf<T extends keyof Templates>({ template, data }: Filled<T>, service: string): Content {
  if (!Object.hasOwn(TEMPLATES, template)) throw new Error(`there is no template ${template}`)
  return TEMPLATES[template](data, service)
}
