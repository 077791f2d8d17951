/**
 * Bearer → Principal. The cache holds proofs (signature, kind, issuer), never decisions: lifetime and revocation are judged on every hit.
 * Warm, this is synchronous.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import { type Limit, type Limiter, limitHeaders } from '../limits/limiter.ts'
import type { Metrics } from '../metrics.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { AccessTokenClaims, AccessTokens } from '../tokens/access-tokens.ts'
import type { Keyring, VerificationKey } from '../tokens/keyring.ts'
import { encodeHeaderValue } from './headers.ts'
import type { Principal } from './principal.ts'

/** Null: no credential of ours was sent. @throws token_invalid, token_expired, token_revoked, rate_limited, unavailable */
export type Authenticate = (authorization: string | undefined, client: ClientOrigin) => Principal | null | Promise<Principal | null>

export interface AuthenticateDeps {
  accessTokens: AccessTokens
  keyring: Keyring
  revocations: Revocations
  limiter: Limiter
  config: Config
  metrics: Metrics
  clock: Clock
}

interface Proof {
  principal: Principal
  /** The proof dies with its key. */
  key: VerificationKey
}

const CACHE_BYTES = 32 * 1024 * 1024
const PROOF_BYTES = 1500
const CLOCK_TOLERANCE_MS = 5000
const BEARER = /^bearer +([^\s]+) *$/i
/** The one scheme that is a credential here. */
export const isBearer = (authorization: string | undefined): authorization is string =>
  authorization !== undefined && BEARER_SCHEME.test(authorization)
const BEARER_SCHEME = /^bearer(?: |$)/i

export function createAuthenticate({
  accessTokens,
  keyring,
  revocations,
  limiter,
  config,
  metrics,
  clock,
}: AuthenticateDeps): Authenticate {
  /** By the header in its usual spelling, since reading a token out of it costs more than looking it up. One entry a token, however it is spelled. */
  const cache = new LRUCache<string, Proof>({ maxSize: CACHE_BYTES, sizeCalculation: (_, header) => header.length * 2 + PROOF_BYTES })
  /** Concurrent misses of one token share one verification. */
  const verifying = new Map<string, Promise<Proof>>()
  const budget: Limit = { name: 'token', scope: 'credential', ...config.limits.credentials.token }
  const hits = metrics.tokenCache.bind({ result: 'hit' })
  const misses = metrics.tokenCache.bind({ result: 'miss' })
  const toPrincipal = createPrincipalReader(config)

  function judge({ principal }: Proof): Principal {
    if (principal.expiresAt * 1000 + CLOCK_TOLERANCE_MS <= clock.now()) throw problem('token_expired')
    if (revocations.isRevoked(principal.sessionId, principal.id, principal.epoch)) throw problem('token_revoked')
    return principal
  }

  async function prove(token: string): Promise<Proof> {
    const { claims, key } = await accessTokens.verify(token)
    return { principal: toPrincipal(claims), key }
  }

  async function verifyMiss(token: string, client: ClientOrigin): Promise<Principal> {
    revocations.demandLoaded()
    const address = client.limitKey
    if (!client.isExempt) {
      const left = await limiter.peek(budget, address, { kind: 'local' })
      if (!left.isAllowed) throw problem('rate_limited', { cause: 'too many invalid tokens', headers: limitHeaders([left]) })
    }
    const pending = verifying.get(token) ?? prove(token).finally(() => verifying.delete(token))
    verifying.set(token, pending)
    try {
      const proof = await pending
      cache.set(usually(token), proof)
      return judge(proof)
    } catch (error) {
      const isGuess = error instanceof Problem && error.code === 'token_invalid'
      if (isGuess && !client.isExempt) await limiter.consume(budget, address, { kind: 'local' })
      throw error
    }
  }

  /** Null: it has to be verified. */
  function recall(header: string): Principal | null {
    const proof = cache.get(header)
    if (!proof || keyring.known(proof.key.kid) !== proof.key) return null
    hits.count++
    return judge(proof)
  }

  return (authorization, client) => {
    // another scheme is not ours to judge: it is no credential here
    if (!isBearer(authorization)) return null
    const known = recall(authorization)
    if (known) return known
    const token = BEARER.exec(authorization)?.[1]
    if (!token) throw problem('token_invalid', { cause: 'not of the form Bearer <token>' })
    const spelledOtherwise = recall(usually(token))
    if (spelledOtherwise) return spelledOtherwise
    misses.count++
    return verifyMiss(token, client)
  }
}

const usually = (token: string): string => `Bearer ${token}`

function createPrincipalReader(config: Config): (claims: AccessTokenClaims) => Principal {
  const { identity } = config.headers
  return (claims) => {
    const email = claims.email !== undefined && (claims.email_verified || identity.unverifiedEmail) ? claims.email : null
    const told: [string, string][] = [
      [identity.user, claims.sub],
      [identity.email, email ?? ''],
      [identity.roles, [...claims.roles].sort().join(',')],
      [identity.session, claims.sid],
    ]
    return {
      kind: 'user',
      id: claims.sub,
      sessionId: claims.sid,
      email: claims.email ?? null,
      roles: new Set(claims.roles),
      scopes: new Set(claims.scope.split(' ').filter(Boolean)),
      epoch: claims.ver,
      expiresAt: claims.exp,
      mustChangePassword: claims.password_must_change ?? false,
      identityHeaders: told.filter(([, value]) => value !== '').flatMap(([name, value]) => [name.toLowerCase(), encodeHeaderValue(value)]),
    }
  }
}
