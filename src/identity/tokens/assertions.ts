/** Signs assertions for upstreams: short-lived JWTs about the caller, with a type of their own and the upstream as audience. */
import { SignJWT } from 'jose'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Keyring, SigningKey } from './keyring.ts'

const ASSERTION_TYPE = 'assertion+jwt'
const LIFE_SECONDS = 60
/** An assertion with less time left is not reused: it could expire before the upstream verifies it. */
const FRESH_SECONDS = 20

export interface AssertionSubject {
  kind: 'user' | 'apiKey' | 'client' | 'external'
  id: string
  sessionId: string
  roles: ReadonlySet<string>
  scopes: ReadonlySet<string>
  /** Seconds since the epoch. No assertion outlives the credential of the caller. */
  expiresAt: number
}

export interface Assertions {
  /**
   * @returns an assertion, reused while it is fresh. The caller is authenticated before, on each request. @param audience origin of the
   * upstream
   */
  of(subject: AssertionSubject, audience: string): string | Promise<string>
}

interface Signed {
  kid: string
  token: string | Promise<string>
  expiresAt: number
}

export function createAssertions({
  keyring,
  issuer,
  clock,
}: {
  keyring: Keyring
  issuer: Config['tokens']['issuer']
  clock: Clock
}): Assertions {
  /** Assertions are collected with their subject, and the subject with its token. */
  const signed = new WeakMap<AssertionSubject, Map<string, Signed>>()

  async function sign(
    { kid, algorithm, privateKey }: SigningKey,
    { kind, id, sessionId, roles, scopes }: AssertionSubject,
    audience: string,
    issuedAt: number,
    expiresAt: number,
  ) {
    // check.ts refuses HS256 with assertions, but an older HS256 key may still be the current key for a while
    if (algorithm === 'HS256') throw unavailable('the current signing key cannot sign assertions: it is an HS256 key')
    // only users have a session
    const session = kind === 'user' ? { sid: sessionId } : {}
    return new SignJWT({ ...session, roles: [...roles].sort(), scope: [...scopes].join(' ') })
      .setProtectedHeader({ alg: algorithm, typ: ASSERTION_TYPE, kid })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(id)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expiresAt)
      .setJti(uuidv7())
      .sign(privateKey)
  }

  return {
    of(subject, audience) {
      const now = Math.floor(clock.now() / 1000)
      const known = signed.get(subject) ?? new Map<string, Signed>()
      signed.set(subject, known)
      const last = known.get(audience)
      // an upstream cannot verify the assertion of a revoked key
      const isUsable = last && last.expiresAt > now && keyring.known(last.kid)
      if (isUsable && (last.expiresAt - now >= FRESH_SECONDS || last.expiresAt === subject.expiresAt)) return last.token
      // a token is accepted for some seconds after its expiry, since clocks differ: an assertion must then last a second too
      const key = keyring.signing()
      const fresh: Signed = { kid: key.kid, token: '', expiresAt: Math.max(now + 1, Math.min(now + LIFE_SECONDS, subject.expiresAt)) }
      fresh.token = sign(key, subject, audience, now, fresh.expiresAt).then(
        (token) => {
          fresh.token = token
          return token
        },
        (error) => {
          known.delete(audience)
          throw error
        },
      )
      known.set(audience, fresh)
      return fresh.token
    },
  }
}
