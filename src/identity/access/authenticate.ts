/**
 * Authenticates a bearer token or an API key. The cache holds proofs (signature, kind, issuer), never decisions: every hit checks lifetime
 * and revocation again. A cache hit is synchronous.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { LRUCache } from 'lru-cache'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { dropEnded } from '../../platform/lib/drop-ended.ts'
import { problem } from '../../platform/lib/errors.ts'
import { shareOfHeap } from '../../platform/lib/heap-limit.ts'
import { looksLikeApiKey } from '../../platform/request/api-key-format.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { ExternalIdentity, SelectIssuer } from '../issuers/external-tokens.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { AccessTokenClaims, AccessTokens } from '../tokens/access-tokens.ts'
import { showsFactor } from '../tokens/amr.ts'
import type { Keyring } from '../tokens/keyring.ts'
import { NO_CLAIMS } from '../tokens/metadata-claims.ts'
import { createRoles } from '../users/roles.ts'
import { createIdentityHeaders } from './identity-headers.ts'
import type { InvalidTokenLimit } from './invalid-token-limit.ts'
import type { Principal } from './principal.ts'
import { apiKeyOf, bearerOf, hasCredential, isBearer } from './request-credentials.ts'

/**
 * @returns null when the request has no credential that this gateway takes. @throws token_invalid, token_expired, token_revoked,
 * rate_limited, unavailable, issuer_unavailable
 */
export type Authenticate = (headers: IncomingHttpHeaders, client: Client) => Principal | null | Promise<Principal | null>

/** The credential was proven before and is remembered: what is left is little work. It may have ended since. */
export type IsKnownCredential = (headers: IncomingHttpHeaders) => boolean

/** Authenticates an API key. */
export type AuthenticateKey = (key: string, client: Client) => Principal | Promise<Principal>

export interface AuthenticateDeps {
  authenticateKey: AuthenticateKey
  isKnownKey(key: string): boolean
  accessTokens: AccessTokens
  /** Null: only tokens of this gateway are accepted. */
  selectIssuer: SelectIssuer | null
  keyring: Keyring
  revocations: Revocations
  limitInvalidTokens: InvalidTokenLimit
  config: Config
  metrics: Metrics
  clock: Clock
}

interface Proof {
  principal: Principal
  /** False once the key that signed the token is removed: the proof is no longer valid. */
  isKeyKnown(): boolean
}

const CACHE_BYTES = 32 * 1024 * 1024
const PROOF_BYTES = 1500
const CLOCK_TOLERANCE_MS = 5000

export interface Authentication {
  authenticate: Authenticate
  isKnown: IsKnownCredential
}

export function createAuthentication({
  authenticateKey,
  isKnownKey,
  accessTokens,
  selectIssuer,
  keyring,
  revocations,
  limitInvalidTokens,
  config,
  metrics,
  clock,
}: AuthenticateDeps): Authentication {
  /** The key is the header in its canonical form, since parsing the header costs more than the lookup. Each token has one entry. */
  const cache = new LRUCache<string, Proof>({
    maxSize: shareOfHeap(CACHE_BYTES),
    sizeCalculation: (_, header) => header.length * 2 + PROOF_BYTES,
  })
  /** Concurrent misses of one token share one verification. */
  const verifying = new Map<string, Promise<Proof>>()
  const hits = metrics.tokenCache.bind({ result: 'hit' })
  const misses = metrics.tokenCache.bind({ result: 'miss' })
  const toPrincipal = createPrincipalReader(config)
  const toExternalPrincipal = createExternalReader(config)

  const hasExpired = ({ principal }: Proof): boolean => principal.expiresAt * 1000 + CLOCK_TOLERANCE_MS <= clock.now()

  function judge(proof: Proof): Principal {
    const { principal } = proof
    if (hasExpired(proof)) throw problem('token_expired')
    const { external } = principal
    const isRevoked =
      external === null ? revocations.isRevoked(principal.sessionId, principal.id, principal.epoch) : revocations.isBlocked(external)
    if (isRevoked) throw problem('token_revoked')
    return principal
  }

  async function prove(token: string): Promise<Proof> {
    const issuer = selectIssuer?.(token)
    if (issuer) {
      const { identity, key } = await issuer.verify(token)
      return { principal: toExternalPrincipal(identity), isKeyKnown: () => issuer.keys.known(key.name) === key }
    }
    const { claims, key } = await accessTokens.verify(token)
    return { principal: toPrincipal(claims, key.kid), isKeyKnown: () => keyring.known(key.kid) === key }
  }

  async function verifyMiss(token: string, client: Client): Promise<Principal> {
    revocations.assertLoaded()
    if (!looksLikeJwt(token)) return limitInvalidTokens.refuse(client, problem('token_invalid', { cause: 'not three base64url parts' }))
    return limitInvalidTokens.check(client, async () => {
      const pending = verifying.get(token) ?? prove(token).finally(() => verifying.delete(token))
      verifying.set(token, pending)
      const proof = await pending
      cache.set(headerOf(token), proof)
      dropEnded(cache, hasExpired)
      return judge(proof)
    })
  }

  /** @returns null when the token must be verified */
  function recall(header: string): Principal | null {
    const proof = cache.get(header)
    if (!proof?.isKeyKnown()) return null
    hits.count++
    return judge(proof)
  }

  function identify(headers: IncomingHttpHeaders, client: Client): ReturnType<Authenticate> {
    const { authorization } = headers
    if (!isBearer(authorization)) {
      // another scheme or another kind of key belongs to the upstream
      const key = apiKeyOf(headers)
      return key === null ? null : authenticateKey(key, client)
    }
    const known = recall(authorization)
    if (known) return known
    const token = bearerOf(authorization)
    if (!token) throw problem('token_invalid', { cause: 'not of the form Bearer <token>' })
    if (looksLikeApiKey(token)) return authenticateKey(token, client)
    const fromOtherForm = recall(headerOf(token))
    if (fromOtherForm) return fromOtherForm
    misses.count++
    return verifyMiss(token, client)
  }

  return {
    authenticate(headers, client) {
      const waiting = revocations.ready()
      if (waiting === null || !hasCredential(headers)) return identify(headers, client)
      return waiting.then(() => identify(headers, client))
    },
    isKnown(headers) {
      const { authorization } = headers
      const token = isBearer(authorization) ? bearerOf(authorization) : apiKeyOf(headers)
      if (!token) return false
      return looksLikeApiKey(token) ? isKnownKey(token) : cache.has(headerOf(token))
    },
  }
}

/** Three parts of base64url: everything else is refused without a look at keys and signatures. */
const JWT_FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
const looksLikeJwt = (token: string): boolean => JWT_FORM.test(token)

/** The canonical form of the header. */
const headerOf = (token: string): string => `Bearer ${token}`

export function createPrincipalReader(config: Config): (claims: AccessTokenClaims, signingKid: string) => Principal {
  const identityHeaders = createIdentityHeaders(config)
  const rolesWithFactor = config.auth.mfa.requiredForRoles
  const grantsOf = createRoles(config.auth.roles)
  return (claims, signingKid) => {
    const { sub: id, sid, email = null } = claims
    const isMachine = claims.kind === 'client'
    const written = { roles: claims.roles, scopes: claims.scope.split(' ').filter(Boolean) }
    // the scopes of a user follow from the roles, as they are defined now: the token may be older
    const { roles, scopes } = isMachine ? written : grantsOf(claims.roles)
    const hasFactor = showsFactor(claims.amr)
    return {
      kind: isMachine ? 'client' : 'user',
      id,
      sessionId: sid,
      external: null,
      cookieId: null,
      email,
      roles: new Set(roles),
      scopes: new Set(scopes),
      epoch: claims.ver,
      signingKid,
      expiresAt: claims.exp,
      mustChangePassword: claims.password_must_change ?? false,
      hasFactor,
      // a machine client has no second factor: an operator issued its credential
      owesFactor: !isMachine && !hasFactor && rolesWithFactor.some((role) => roles.includes(role)),
      authenticatedAt: claims.auth_time,
      identityHeaders: identityHeaders({
        id,
        email,
        isEmailVerified: claims.email_verified ?? false,
        roles,
        sessionId: isMachine ? null : sid,
        mapped: claims.mapped,
      }),
    }
  }
}

/** No session, no second factor, no time of authentication and no e-mail address: another issuer cannot vouch for them here. */
export function createExternalReader(config: Config): (identity: ExternalIdentity) => Principal {
  const identityHeaders = createIdentityHeaders(config)
  const rolesWithFactor = config.auth.mfa.requiredForRoles
  return ({ id, roles, scopes, expiresAt, blocks }) => ({
    kind: 'external',
    id,
    sessionId: '',
    external: blocks,
    cookieId: null,
    email: null,
    roles: new Set(roles),
    scopes: new Set(scopes),
    epoch: 0,
    signingKid: null,
    expiresAt,
    mustChangePassword: false,
    hasFactor: false,
    // a person may be behind the token: the role stays closed
    owesFactor: rolesWithFactor.some((role) => roles.includes(role)),
    authenticatedAt: 0,
    identityHeaders: identityHeaders({ id, email: null, isEmailVerified: false, roles, sessionId: null, mapped: NO_CLAIMS }),
  })
}
