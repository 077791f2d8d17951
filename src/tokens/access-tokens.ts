/** Access tokens: JWTs of one kind (`typ: at+jwt`, RFC 9068), made and verified by jose. The algorithm is pinned by the key. */
import { decodeProtectedHeader, type JWTPayload, errors as jose, jwtVerify, SignJWT } from 'jose'
import { uuidv7 } from 'uuidv7'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { problem } from '../errors.ts'
import type { Keyring, VerificationKey } from './keyring.ts'

export const ACCESS_TOKEN_TYPE = 'at+jwt'
/** Longer ones are none of ours: we refuse to issue them. */
export const MAX_TOKEN_LENGTH = 4096
const CLOCK_TOLERANCE_SECONDS = 5
/** The clocks of several gateways may differ by this much. */
const MAX_ISSUED_AHEAD_SECONDS = 60

export interface AccessTokenSubject {
  userId: string
  sessionId: string
  /** `users.token_epoch` */
  epoch: number
  /** Effective roles and scopes. */
  roles: readonly string[]
  scopes: readonly string[]
  amr: readonly string[]
  authTime: Date
  email: string
  emailVerified: boolean
  username: string
  mustChangePassword: boolean
}

export interface AccessTokenClaims {
  sub: string
  sid: string
  ver: number
  roles: string[]
  scope: string
  /** Seconds since the epoch. */
  exp: number
  email?: string
  email_verified?: boolean
  password_must_change?: boolean
}

export interface AccessTokens {
  issue(subject: AccessTokenSubject): Promise<string>
  /** Signature, kind, issuer, audience and lifetime. @throws token_invalid, token_expired, or 503 when an unknown key cannot be looked up */
  verify(token: string): Promise<{ claims: AccessTokenClaims; key: VerificationKey }>
}

export function createAccessTokens({ keyring, tokens, clock }: { keyring: Keyring; tokens: Config['tokens']; clock: Clock }): AccessTokens {
  return {
    async issue(subject) {
      const { kid, algorithm, privateKey } = keyring.signing()
      const issuedAt = Math.floor(clock.now() / 1000)
      const personal = tokens.emailClaims
        ? { email: subject.email, email_verified: subject.emailVerified, preferred_username: subject.username }
        : {}
      const token = await new SignJWT({
        sid: subject.sessionId,
        ver: subject.epoch,
        roles: subject.roles,
        scope: subject.scopes.join(' '),
        amr: subject.amr,
        auth_time: Math.floor(subject.authTime.getTime() / 1000),
        ...personal,
        ...(subject.mustChangePassword ? { password_must_change: true } : {}),
      })
        .setProtectedHeader({ alg: algorithm, typ: ACCESS_TOKEN_TYPE, kid })
        .setIssuer(tokens.issuer)
        .setAudience(tokens.audience)
        .setSubject(subject.userId)
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + tokens.accessTtlSeconds)
        .setJti(uuidv7())
        .sign(privateKey)
      // more would not fit the headers of many servers: said here, not by the upstream
      if (token.length > MAX_TOKEN_LENGTH)
        throw problem('identity_too_large', {
          cause: `the access token of user ${subject.userId} would be ${token.length} characters long`,
        })
      return token
    },

    async verify(token) {
      if (token.length > MAX_TOKEN_LENGTH) throw problem('token_invalid', { cause: 'longer than any token of ours' })
      if (!isCanonicalCompact(token)) throw problem('token_invalid', { cause: 'not three canonical base64url parts of canonical JSON' })
      const key = await keyFor(token)
      try {
        const { payload } = await jwtVerify(token, key.key, {
          algorithms: [key.algorithm],
          typ: ACCESS_TOKEN_TYPE,
          issuer: tokens.issuer,
          audience: tokens.audience,
          clockTolerance: CLOCK_TOLERANCE_SECONDS,
          currentDate: new Date(clock.now()),
          requiredClaims: ['exp', 'iat', 'jti', 'sub', 'sid', 'ver'],
        })
        if (payload.iat! * 1000 > clock.now() + MAX_ISSUED_AHEAD_SECONDS * 1000)
          throw problem('token_invalid', { cause: 'issued in the future' })
        return { claims: readClaims(payload), key }
      } catch (error) {
        if (error instanceof jose.JWTExpired) throw problem('token_expired', { cause: error })
        throw error instanceof jose.JOSEError ? problem('token_invalid', { cause: error }) : error
      }
    },
  }

  async function keyFor(token: string) {
    const header = readHeader(token)
    // RFC 7515 §4.1: a key that the token brings along or points to is never used, so it may as well not be there
    if (['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64', 'zip'].some((name) => name in header))
      throw problem('token_invalid', { cause: 'a header parameter that is not ours' })
    const kid = typeof header.kid === 'string' && header.kid.length <= 64 ? header.kid : ''
    const key = kid ? ((await keyring.find(kid)) ?? null) : null
    if (!key) throw problem('token_invalid', { cause: 'unknown kid' })
    return key
  }
}

function readHeader(token: string) {
  try {
    return decodeProtectedHeader(token)
  } catch (error) {
    throw problem('token_invalid', { cause: error })
  }
}

/** Decoders forgive stray bits and characters: two spellings of one token would be two cache keys and two truths. */
function isCanonicalCompact(token: string): boolean {
  const parts = token.split('.')
  if (parts.length !== 3) return false
  const [header, claims, signature] = parts.map((part) => Buffer.from(part, 'base64url')) as [Buffer, Buffer, Buffer]
  const isSpelledOnce = [header, claims, signature].every((bytes, i) => bytes.length > 0 && bytes.toString('base64url') === parts[i])
  return isSpelledOnce && isCanonicalJson(header) && isCanonicalJson(claims)
}

/** As we write it. What another parser could read in another way (a name twice, a byte order mark, bytes that are no UTF-8) is not (RFC 8725 §3.7). */
function isCanonicalJson(bytes: Buffer): boolean {
  try {
    return Buffer.from(JSON.stringify(JSON.parse(bytes.toString()))).equals(bytes)
  } catch {
    return false
  }
}

const isText = (claim: unknown): claim is string => typeof claim === 'string' && claim !== ''

function readClaims(payload: JWTPayload): AccessTokenClaims {
  const { sub, sid, ver, roles, scope = '', exp, email, email_verified, password_must_change } = payload as Record<string, unknown>
  const isWhole =
    isText(sub) &&
    isText(sid) &&
    Number.isSafeInteger(ver) &&
    typeof exp === 'number' &&
    typeof scope === 'string' &&
    Array.isArray(roles) &&
    roles.every((r) => typeof r === 'string')
  if (!isWhole) throw problem('token_invalid', { cause: 'claims of the wrong type' })
  return {
    sub,
    sid,
    ver: ver as number,
    roles,
    scope,
    exp,
    ...(typeof email === 'string' ? { email, email_verified: email_verified === true } : {}),
    ...(password_must_change === true ? { password_must_change } : {}),
  }
}
