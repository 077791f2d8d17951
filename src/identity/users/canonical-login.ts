/** One spelling for storage, look-up and limits: an e-mail address and a username of one person lead to one account. */
const USERNAME = /^[a-z0-9][a-z0-9._-]{2,31}$/
/** What mail servers accept in practice (RFC 5321 lengths); a real check is a mail that arrives. */
const EMAIL = /^[^\s@\p{Cc}"(),:;<>[\]\\]{1,64}@[^\s@\p{Cc}"(),:;<>[\]\\]{1,189}$/u

export const canonicalUsername = (username: string): string => username.toLowerCase()
export const isUsername = (canonical: string): boolean => USERNAME.test(canonical)

export const canonicalEmail = (email: string): string => email.normalize('NFC').toLowerCase()
export const isEmail = (email: string): boolean => EMAIL.test(email) && email.isWellFormed() && !/\.\.|^\.|\.@|@\.|@-|\.$/.test(email)

/** Usernames hold no `@`, so that the two can never be confused. */
export const canonicalLogin = (login: string): string =>
  login.includes('@') ? canonicalEmail(login.trim()) : canonicalUsername(login.trim())
