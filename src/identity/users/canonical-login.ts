/** The canonical forms of usernames and e-mail addresses, for storage, lookup and limits. */
import type { Config } from '../../platform/config/schema.ts'
import type { FieldError } from '../../platform/lib/errors.ts'

const USERNAME = /^[a-z0-9][a-z0-9._-]{2,31}$/
/** The addresses that mail servers accept in practice, with the lengths of RFC 5321. Only a mail that arrives proves an address. */
const EMAIL = /^[^\s@\p{Cc}"(),:;<>[\]\\]{1,64}@[^\s@\p{Cc}"(),:;<>[\]\\]{1,189}$/u

export const canonicalUsername = (username: string): string => username.toLowerCase()
export const isUsername = (canonical: string): boolean => USERNAME.test(canonical)

export const canonicalEmail = (email: string): string => email.normalize('NFC').toLowerCase()
export const isEmail = (email: string): boolean => EMAIL.test(email) && email.isWellFormed() && !/\.\.|^\.|\.@|@\.|@-|\.$/.test(email)

/** Usernames contain no `@`, so a login is never both. */
export const canonicalLogin = (login: string): string =>
  login.includes('@') ? canonicalEmail(login.trim()) : canonicalUsername(login.trim())

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
  if (email !== undefined && !isEmail(email)) errors.push({ field: 'email', code: 'format', detail: 'must be an e-mail address' })
  return errors
}
