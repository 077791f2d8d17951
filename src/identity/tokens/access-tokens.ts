/** Issues and verifies access tokens: JWTs of RFC 9068. The key decides on the algorithm. */
import { decodeProtectedHeader, type JWTPayload, errors as jose, jwtVerify, SignJWT } from 'jose'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import type { Metadata } from '../../platform/db/tables.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isCanonicalCompact } from './canonical-jwt.ts'
import type { Keyring, VerificationKey } from './keyring.ts'
import { type ClaimValues, createMetadataClaims, type MetadataClaims, NO_CLAIMS } from './metadata-claims.ts'
import { retirementFault } from './retired-key.ts'

/** RFC 9068 §2.1. Accepted also when `tokens.typ` is JWT: no other kind of token has this type. */
const ACCESS_TOKEN_TYPE = 'at+jwt'
/** Of ID tokens, logout tokens, security events and DPoP proofs. With the type JWT only the claims tell the kinds apart (RFC 8725 §3.12). */
export const CLAIMS_OF_OTHER_KINDS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events', 'htm', 'htu']
/** Longer tokens are neither issued nor accepted. */
const MAX_TOKEN_LENGTH = 4096
export const CLOCK_TOLERANCE_SECONDS = 5
/** The clocks of several gateways may differ by this much before they have measured the database's time. */
export const MAX_ISSUED_AHEAD_SECONDS = 60

interface TokenSubject {
  /** The id whose revocation ends the token. */
  sessionId: string
  /** `users.token_epoch`, `clients.token_epoch` */
  epoch: number
  /** Effective roles and scopes. */
  roles: readonly string[]
  scopes: readonly string[]
}

/** A machine client has no session, so each token has a `sessionId` of its own. */
export interface ClientTokenSubject extends TokenSubject {
  clientId: string
}

export interface AccessTokenSubject extends TokenSubject {
  userId: string
  amr: readonly string[]
  authTime: Date
  /** The absolute end of the session. No access token of the session expires later. */
  sessionEndsAt: Date
  email: string
  emailVerified: boolean
  username: string | null
  mustChangePassword: boolean
  metadata: Metadata
}

export interface AccessTokenClaims {
  sub: string
  sid: string
  ver: number
  roles: string[]
  scope: string
  jti: string
  /** Seconds since the epoch. */
  iat: number
  exp: number
  kind: 'user' | 'client'
  /** RFC 9068 §2.2. In the token of a machine client it equals `sub`, in that of a user it is `tokens.clientId`. Absent in older tokens. */
  client_id?: string
  /** The authentication methods of the session (RFC 8176). Empty for machine clients. */
  amr: string[]
  /** Seconds since the epoch. 0 for machine clients. */
  auth_time: number
  preferred_username?: string
  email?: string
  email_verified?: boolean
  password_must_change?: boolean
  /** The claims of `tokens.claims`. */
  mapped: ClaimValues
}

export interface IssuedToken {
  token: string
  expiresInSeconds: number
}

export interface AccessTokens {
  issue(subject: AccessTokenSubject | ClientTokenSubject): Promise<IssuedToken>
  /**
   * Checks signature, type, issuer, audience and lifetime. @throws token_invalid, token_expired, or 503 when an unknown key cannot be
   * looked up
   */
  verify(token: string): Promise<{ claims: AccessTokenClaims; key: VerificationKey }>
}

export function createAccessTokens({ keyring, tokens, clock }: { keyring: Keyring; tokens: Config['tokens']; clock: Clock }): AccessTokens {
  const metadataClaims = createMetadataClaims(tokens.claims)
  return {
    async issue(subject) {
      const { kid, algorithm, privateKey } = keyring.signing()
      const issuedAt = Math.floor(clock.now() / 1000)
      const isMachine = 'clientId' in subject
      const id = isMachine ? subject.clientId : subject.userId
      const endsAt = isMachine ? Number.POSITIVE_INFINITY : Math.floor(subject.sessionEndsAt.getTime() / 1000)
      const expiresAt = Math.max(issuedAt + 1, Math.min(issuedAt + tokens.accessTtlSeconds, endsAt))
      const token = await new SignJWT({
        sid: subject.sessionId,
        ver: subject.epoch,
        roles: subject.roles,
        scope: subject.scopes.join(' '),
        client_id: isMachine ? id : tokens.clientId,
        ...(isMachine ? {} : personalClaims(subject)),
      })
        .setProtectedHeader({ alg: algorithm, typ: tokens.typ, kid })
        .setIssuer(tokens.issuer)
        .setAudience(tokens.audience)
        .setSubject(id)
        .setIssuedAt(issuedAt)
        .setExpirationTime(expiresAt)
        .setJti(uuidv7())
        .sign(privateKey)
      // a longer token would exceed the header limit of many upstreams: the error must come from here
      if (token.length > MAX_TOKEN_LENGTH)
        throw problem('identity_too_large', {
          cause: `the access token of ${id} would be ${token.length} characters long`,
        })
      return { token, expiresInSeconds: expiresAt - issuedAt }
    },

    async verify(token) {
      if (token.length > MAX_TOKEN_LENGTH) throw problem('token_invalid', { cause: `longer than ${MAX_TOKEN_LENGTH} characters` })
      if (!isCanonicalCompact(token)) throw problem('token_invalid', { cause: 'not three canonical base64url parts with canonical JSON' })
      const { key, typ } = await keyFor(token)
      try {
        const { payload } = await jwtVerify(token, key.key, {
          algorithms: [key.algorithm],
          typ,
          issuer: tokens.issuer,
          audience: tokens.audience,
          clockTolerance: CLOCK_TOLERANCE_SECONDS,
          currentDate: new Date(clock.now()),
          requiredClaims: ['exp', 'iat', 'jti', 'sub', 'sid', 'ver'],
        })
        if (payload.iat! * 1000 > clock.now() + MAX_ISSUED_AHEAD_SECONDS * 1000)
          throw problem('token_invalid', { cause: 'issued in the future' })
        await assertLifetime(payload, key)
        const fault = retirementFault(key.retirement, payload)
        if (fault) throw problem('token_invalid', { cause: fault })
        if (typ !== ACCESS_TOKEN_TYPE && CLAIMS_OF_OTHER_KINDS.some((name) => name in payload))
          throw problem('token_invalid', { cause: 'has a claim of another kind of token' })
        return { claims: readClaims(payload, metadataClaims, { clientId: tokens.clientId, needsClientId: typ !== ACCESS_TOKEN_TYPE }), key }
      } catch (error) {
        if (error instanceof jose.JWTExpired) throw problem('token_expired', { cause: error })
        throw error instanceof jose.JOSEError ? problem('token_invalid', { cause: error }) : error
      }
    },
  }

  /** A thief of the key chooses `exp`. No honest token lasts longer than the configuration allowed while the key could sign. */
  async function assertLifetime({ iat, exp }: JWTPayload, key: VerificationKey): Promise<void> {
    const lastsSeconds = exp! - iat!
    const isAllowed = ({ lifetimeSeconds }: VerificationKey) => lastsSeconds <= Math.max(tokens.accessTtlSeconds, lifetimeSeconds)
    if (isAllowed(key)) return
    // another gateway may have raised the lifetime a moment ago
    const current = await keyring.findAgain(key.kid)
    if (!current || !isAllowed(current))
      throw problem('token_invalid', { cause: `lasts ${lastsSeconds} s, longer than the configuration allows` })
  }

  function personalClaims(subject: AccessTokenSubject) {
    return {
      ...metadataClaims.of(subject.metadata),
      amr: subject.amr,
      auth_time: Math.floor(subject.authTime.getTime() / 1000),
      ...(tokens.emailClaims ? { email: subject.email, email_verified: subject.emailVerified } : {}),
      ...(tokens.emailClaims && subject.username !== null ? { preferred_username: subject.username } : {}),
      ...(subject.mustChangePassword ? { password_must_change: true } : {}),
    }
  }

  async function keyFor(token: string) {
    const header = readHeader(token)
    if (hasForeignParameters(header)) throw problem('token_invalid', { cause: 'the header has a parameter that is not allowed' })
    const kid = typeof header.kid === 'string' && header.kid.length <= 64 ? header.kid : ''
    const key = kid ? ((await keyring.find(kid)) ?? null) : null
    if (!key) throw problem('token_invalid', { cause: 'unknown kid' })
    // JWT is no type of its own (RFC 8725 §3.11), so it is accepted only where the configuration names it
    return { key, typ: header.typ === tokens.typ ? tokens.typ : ACCESS_TOKEN_TYPE }
  }
}

/** Characters of the smallest header and signature (HS256), and of the claims that every token of a user has beside the grants. */
const SMALLEST_REST = 500

/**
 * @param claims that the token carries, too
 * @returns false when no access token of a user could carry these grants. Whether a token fits exactly is known when it is issued: it depends on
 * the algorithm, the names and the e-mail address, which may change.
 */
export const couldFitToken = ({ roles, scopes }: Pick<TokenSubject, 'roles' | 'scopes'>, claims: object = {}): boolean =>
  Math.ceil((Buffer.byteLength(JSON.stringify({ roles, scope: scopes.join(' '), ...claims })) * 4) / 3) + SMALLEST_REST <= MAX_TOKEN_LENGTH

/** RFC 7515 §4.1: keys that a token contains or links to are never used, so such tokens are refused. */
export const hasForeignParameters = (header: object): boolean =>
  ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64', 'zip'].some((name) => name in header)

function readHeader(token: string) {
  try {
    return decodeProtectedHeader(token)
  } catch (error) {
    throw problem('token_invalid', { cause: error })
  }
}

const isText = (claim: unknown): claim is string => typeof claim === 'string' && claim !== ''

const areTexts = (claim: unknown): claim is string[] => Array.isArray(claim) && claim.every((c) => typeof c === 'string')

interface ClientIdRule {
  clientId: string
  /** Tokens of the type JWT had a `client_id` from the beginning. No other kind of token with this type has one beside `sid` and `ver`. */
  needsClientId: boolean
}

function readClaims(payload: JWTPayload, metadataClaims: MetadataClaims, rule: ClientIdRule): AccessTokenClaims {
  const { sub, sid, ver, roles, scope = '', jti, iat, exp } = payload as Record<string, unknown>
  const isWhole =
    isText(sub) &&
    isText(sid) &&
    isText(jti) &&
    Number.isSafeInteger(ver) &&
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    typeof scope === 'string' &&
    areTexts(roles)
  if (!isWhole) throw problem('token_invalid', { cause: 'claims of the wrong type' })
  const claims = { sub, sid, ver: ver as number, roles, scope, jti, iat, exp }
  // RFC 9068 §2.2: without an end user, sub is the OAuth client. No user has the id of a client
  return payload.client_id === sub
    ? { ...claims, ...readMachineClaims(payload), mapped: NO_CLAIMS }
    : { ...claims, ...readPersonalClaims(payload, rule), mapped: metadataClaims.read(payload) }
}

function readMachineClaims({ client_id, amr, auth_time }: JWTPayload) {
  // there is no user authentication
  if (amr !== undefined || auth_time !== undefined)
    throw problem('token_invalid', { cause: 'the claims mix those of a machine client and of a user' })
  return { kind: 'client' as const, client_id: client_id as string, amr: [], auth_time: 0 }
}

function readPersonalClaims(payload: JWTPayload, { clientId, needsClientId }: ClientIdRule) {
  const { client_id, amr, auth_time, email, email_verified, password_must_change, preferred_username } = payload
  const isIssuedToUs = client_id === clientId || (client_id === undefined && !needsClientId)
  if (!isIssuedToUs) throw problem('token_invalid', { cause: 'issued to another client' })
  if (typeof auth_time !== 'number' || !areTexts(amr)) throw problem('token_invalid', { cause: 'claims of the wrong type' })
  return {
    kind: 'user' as const,
    ...(client_id === undefined ? {} : { client_id: clientId }),
    amr,
    auth_time,
    ...(typeof email === 'string' ? { email, email_verified: email_verified === true } : {}),
    ...(typeof preferred_username === 'string' ? { preferred_username } : {}),
    ...(password_must_change === true ? { password_must_change } : {}),
  }
}
