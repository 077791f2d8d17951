/** What an upstream gets that wants proof: a short-lived JWT about the caller, signed by the key of the JWKS, of a kind and audience of its own. */
import { SignJWT } from 'jose'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Keyring } from './keyring.ts'

const ASSERTION_TYPE = 'assertion+jwt'
const LIFE_SECONDS = 60
/** One that has less left is not sent: it would be dead before the upstream has looked. */
const FRESH_SECONDS = 20

export interface AssertionSubject {
  kind: 'user' | 'apiKey' | 'client'
  id: string
  sessionId: string
  roles: ReadonlySet<string>
  scopes: ReadonlySet<string>
  /** Seconds since the epoch: no assertion outlives the token that it is made of. */
  expiresAt: number
}

export interface Assertions {
  /** `aud` is the upstream's origin. Kept and sent again while fresh; whether the caller is still good is judged before, on each request. */
  of(subject: AssertionSubject, audience: string): string | Promise<string>
}

interface Made {
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
  /** They go with their subject, which goes with its token. */
  const made = new WeakMap<AssertionSubject, Map<string, Made>>()

  async function sign({ kind, id, sessionId, roles, scopes }: AssertionSubject, audience: string, issuedAt: number, expiresAt: number) {
    const { kid, algorithm, privateKey } = keyring.signing()
    // check.ts refuses the configuration; a key of it may still be current for a while
    if (algorithm === 'HS256') throw unavailable('no asymmetric key to sign an assertion with yet')
    // keys and machines have no session
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
      const known = made.get(subject) ?? new Map<string, Made>()
      made.set(subject, known)
      const last = known.get(audience)
      if (last && last.expiresAt > now && (last.expiresAt - now >= FRESH_SECONDS || last.expiresAt === subject.expiresAt)) return last.token
      // a token is good for some seconds more, for clocks that differ: so is what is made of it then
      const fresh: Made = { token: '', expiresAt: Math.max(now + 1, Math.min(now + LIFE_SECONDS, subject.expiresAt)) }
      fresh.token = sign(subject, audience, now, fresh.expiresAt).then(
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
