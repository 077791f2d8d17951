/** The canonical forms of usernames and e-mail addresses, for storage, lookup and limits. */
import { domainToASCII, domainToUnicode } from 'node:url'
import type { Config } from '../../platform/config/schema.ts'
import { type FieldError, problem } from '../../platform/lib/errors.ts'

const USERNAME = /^[a-z0-9][a-z0-9._-]{2,31}$/
/** The addresses that mail servers accept in practice, with the lengths of RFC 5321. Only a mail that arrives proves an address. */
const EMAIL = /^[^\s@\p{Cc}"(),:;<>[\]\\]{1,64}@[^\s@\p{Cc}"(),:;<>[\]\\]{1,189}$/u
/** Format characters, and others without a picture. */
const INVISIBLE = /[\p{Cf}\p{Default_Ignorable_Code_Point}]/u
/** A host of a URL may contain these, and a domain of an address may not. */
const NO_DOMAIN = /[\s\p{Cc}@"(),:;<>[\]\\/?#%]/u
/** A URL reads such a host as an IPv4 address. */
const NUMERIC = /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/
/** RFC 1035 §2.3.4, RFC 5321 §4.5.3.1.3 */
const MAX_LABEL = 63
const MAX_EMAIL = 254

export const canonicalUsername = (username: string): string => username.toLowerCase()
export const isUsername = (canonical: string): boolean => USERNAME.test(canonical)

/**
 * The local part in lower case and the normal form NFC. The domain as IDNA writes it in the DNS (UTS 46): `bücher.example`,
 * `xn--bcher-kva.example` and full-width letters are one domain. A domain that IDNA refuses stays as it is.
 */
export function canonicalEmail(email: string): string {
  const [local, domain] = partsOf(email.normalize('NFC').toLowerCase())
  return domain === undefined ? local : `${local}@${asciiDomain(domain) ?? domain}`
}

/** The address to store and to show: in a domain that is not ASCII, other forms of a letter are replaced by the usual form. */
export function shownEmail(email: string): string {
  const [local, domain] = partsOf(email)
  const ascii = domain === undefined || isAscii(domain) ? null : asciiDomain(domain)
  return ascii === null ? email : `${local}@${domainToUnicode(ascii)}`
}

export const isEmail = (email: string): boolean => emailFault(email) === null

/** @returns what is wrong with an address, as the end of a sentence */
function emailFault(email: string): string | null {
  if (INVISIBLE.test(email)) return 'must not contain invisible characters'
  if (!EMAIL.test(email) || !email.isWellFormed()) return 'must be an e-mail address'
  const [local, typed] = partsOf(email) as [string, string]
  // full-width letters and ligatures: they look like another address
  if (local.normalize('NFKC') !== local.normalize('NFC')) return 'must be written with ordinary letters before the @'
  const domain = asciiDomain(typed.normalize('NFC'))
  if (domain === null || domain.split('.').some((label) => label.length > MAX_LABEL)) return 'must have a valid domain'
  const canonical = `${local}@${domain}`
  return canonical.length > MAX_EMAIL || /\.\.|^\.|\.@|@\.|@-|\.$/.test(canonical) ? 'must be an e-mail address' : null
}

function partsOf(email: string): [local: string, domain: string | undefined] {
  const at = email.lastIndexOf('@')
  return at === -1 ? [email, undefined] : [email.slice(0, at), email.slice(at + 1)]
}

const isAscii = (text: string) => /^\p{ASCII}*$/u.test(text)

/** @returns null for a domain that IDNA refuses */
function asciiDomain(domain: string): string | null {
  if (NO_DOMAIN.test(domain)) return null
  const ascii = domainToASCII(domain)
  return ascii === '' || NUMERIC.test(ascii) ? null : ascii
}

/** Usernames contain no `@`, so a login is never both. */
export const canonicalLogin = (login: string): string =>
  login.includes('@') ? canonicalEmail(login.trim()) : canonicalUsername(login.trim())

/** For a user who chooses a name: an operator may give any. @throws username_taken, so that the answer is that for any other taken name */
export function assertNotReserved(canonical: string | null, reserved: readonly string[]): void {
  if (canonical !== null && reserved.includes(canonical)) throw problem('username_taken', { cause: 'the username is reserved' })
}

/** What is wrong with the username of a new account. @param usernames `auth.username` */
export function newUsernameFaults(canonical: string | null, usernames: Config['auth']['username']): FieldError[] {
  if (canonical !== null && usernames === 'off')
    return [{ field: 'username', code: 'unknown', detail: 'is not used here: accounts have an e-mail address only' }]
  if (canonical === null) return usernames === 'required' ? [{ field: 'username', code: 'required', detail: 'is missing' }] : []
  return nameFaults(canonical, undefined)
}

/** What is wrong with a username in its canonical form and with an e-mail address. What is undefined is not checked. */
export function nameFaults(username: string | undefined, email: string | undefined): FieldError[] {
  const errors: FieldError[] = []
  if (username !== undefined && !isUsername(username))
    errors.push({
      field: 'username',
      code: 'format',
      detail: 'must be 3 to 32 characters of a-z 0-9 . _ - and begin with a letter or digit',
    })
  const fault = email === undefined ? null : emailFault(email)
  if (fault !== null) errors.push({ field: 'email', code: 'format', detail: fault })
  return errors
}
