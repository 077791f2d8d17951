/**
 * The values of session cookies: 256 random bits and a short tag under the secret key. The tag shows without a look-up that a value is not
 * ours. The database holds only the SHA-256 of a value.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { SessionCookieTable } from '../../platform/db/tables.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'

export type CookiePurpose = SessionCookieTable['purpose']

/** A cookie for the answer. */
export interface NewCookie {
  value: string
  /** Null: the cookie ends with the browser. */
  maxAgeSeconds: number | null
}

/** What a login asks for instead of tokens. */
export interface CookieWish {
  purpose: CookiePurpose
  /** The browser keeps the cookie when it is closed. */
  isPersistent: boolean
}

/** The fields of an input that ask for a cookie. The JSON API takes `cookie` alone. */
export interface SessionChoice {
  /** `cookie`: a cookie of the public listener. `console`: a cookie of the console. */
  session?: 'cookie' | 'console' | undefined
  /** Stay logged in when the browser is closed. */
  remember?: boolean | undefined
}

export const wishOf = ({ session, remember = false }: SessionChoice): CookieWish | null =>
  session === undefined ? null : { purpose: session === 'console' ? 'console' : 'browser', isPersistent: remember }

export interface CookieValues {
  make(purpose: CookiePurpose): string
  /** False for a value of another purpose too. */
  isGenuine(purpose: CookiePurpose, value: string): boolean
}

const PREFIX = 'ps_'
const RANDOM_CHARACTERS = 43
const TAG_BYTES = 9
const FORM = /^ps_[A-Za-z0-9_-]{55}$/

/** Whether a text has the form of a value. */
export const looksLikeCookieValue = (text: string): boolean => FORM.test(text)

export const cookieHash = (value: string): Buffer => createHash('sha256').update(value).digest()

export function createCookieValues(secrets: Secrets): CookieValues {
  const label = (purpose: CookiePurpose) => `session cookie ${purpose}`
  const tagOf = (derived: Buffer) => derived.subarray(0, TAG_BYTES)

  return {
    make(purpose) {
      const body = PREFIX + randomBytes(32).toString('base64url')
      return body + tagOf(secrets.derive(label(purpose), Buffer.from(body))).toString('base64url')
    },
    isGenuine(purpose, value) {
      if (!FORM.test(value)) return false
      const end = PREFIX.length + RANDOM_CHARACTERS
      const tag = Buffer.from(value.slice(end), 'base64url')
      return secrets.deriveAll(label(purpose), Buffer.from(value.slice(0, end))).some((derived) => timingSafeEqual(tag, tagOf(derived)))
    },
  }
}
