/** The canonical forms of usernames and e-mail addresses, for storage, lookup and limits. */
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
