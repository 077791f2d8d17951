/** The cookies that the pages of the gateway keep in a browser, besides the session. No upstream may set them. */

/** What a page keeps until a later step. `email-flow`: of a code that was mailed. `left`: the user has logged out. */
export type StepSecret = 'mfa' | 'device' | 'verify' | 'reset' | 'confirm-login' | 'email-login' | 'email-flow' | 'invitation' | 'left'

/** What the account pages show once. */
export type SecretKind = 'api-key' | 'backup-codes' | 'enrolment'

/** `lang`: the chosen language. `step`: the user was just led to a page. */
type PageCookie = StepSecret | SecretKind | 'lang' | 'step'

/** The compiler asks for each of them. */
const NAMES: Record<PageCookie, true> = {
  mfa: true,
  device: true,
  verify: true,
  reset: true,
  'confirm-login': true,
  'email-login': true,
  'email-flow': true,
  invitation: true,
  'api-key': true,
  'backup-codes': true,
  enrolment: true,
  lang: true,
  step: true,
  left: true,
}

/** @param isSecure the cookie is for https alone: its name says so */
export const pageCookieName = (cookie: PageCookie, isSecure: boolean): string => `${isSecure ? '__Secure-' : ''}portcullis-${cookie}`

const OURS = new Set(Object.keys(NAMES).map((cookie) => `portcullis-${cookie}`))

/**
 * The cookie of a sign-in on its way through a provider. The prefix keeps other hosts of the domain from setting one: with it they could log
 * a visitor in to an account of their own. @param tag hexadecimal digits
 */
export const flowCookieName = (tag: string, isSecure: boolean): string => `${isSecure ? '__Host-' : ''}portcullis-flow-${tag}`

export const isFlowCookieName = (name: string): boolean => /^(?:__Host-)?portcullis-flow-[0-9a-f]+$/.test(name)

/** Whether a name is of one of these cookies, also with a prefix of RFC 6265bis. */
export const isPageCookieName = (name: string): boolean =>
  OURS.has(name.replace(/^__(?:Secure|Host)-/, '')) || /^(?:__(?:Secure|Host)-)?portcullis-flow-/.test(name)
