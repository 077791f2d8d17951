/**
 * Authenticates API keys, without a database lookup per request. The cache keeps a key for the lifetime of an access token. Every hit
 * checks the revocations, as for tokens: a revoked key is refused at once, and a key whose owner has changed is looked up again. After half
 * of its time a key is looked up in the background, so that the other half is left for an outage of the database.
 */
import { LRUCache } from 'lru-cache'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { dropEnded } from '../../platform/lib/drop-ended.ts'
import { type ErrorCode, problem } from '../../platform/lib/errors.ts'
import { shareOfHeap } from '../../platform/lib/heap-limit.ts'
import { digestOf, isApiKey } from '../../platform/request/api-key-format.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { AuthenticateKey } from '../access/authenticate.ts'
import { createIdentityHeaders } from '../access/identity-headers.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { Principal } from '../access/principal.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { createMetadataClaims } from '../tokens/metadata-claims.ts'
import type { Grants } from '../users/roles.ts'
import { type ApiKey, findApiKey, type KeyOwner, touchApiKey } from './api-keys.repo.ts'

export interface ApiKeyAuthentication {
  /** @throws token_invalid, token_expired, token_revoked, rate_limited, unavailable */
  authenticate: AuthenticateKey
  /** The key was looked up before, and is remembered. */
  isKnown(key: string): boolean
  /** Reads the database, without a limit: for the introspection of another caller's key. */
  inspect(key: string): Promise<{ principal: Principal; key: ApiKey; owner: KeyOwner }>
}

export interface ApiKeyAuthenticationDeps {
  db: Db
  revocations: Revocations
  limitInvalidTokens: InvalidTokenLimit
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
  metrics: Metrics
  clock: Clock
}

/** Times are in milliseconds, and of `clock.steady()` unless a comment says otherwise. */
interface Known {
  principal: Principal
  /** The expiry of the key itself, by `clock.now()`. */
  keyExpiresAt: number
  reloadAt: number
  until: number
  useWrittenAt: number
}

interface Refused {
  code: ErrorCode
  until: number
}

/** About 2 KB each. */
const MAX_KNOWN = 10_000
const MAX_REFUSED = 10_000
const REFUSED_MS = 10_000
const RELOAD_RETRY_MS = 1000
const USE_MS = 60_000

export function createApiKeyAuthentication({
  db,
  revocations,
  limitInvalidTokens,
  grantsOf,
  config,
  metrics,
  clock,
}: ApiKeyAuthenticationDeps): ApiKeyAuthentication {
  /** By digest. Refused keys have a map of their own, so that invalid keys evict no valid key. */
  const known = new LRUCache<string, Known>({ max: shareOfHeap(MAX_KNOWN) })
  const refused = new LRUCache<string, Refused>({ max: shareOfHeap(MAX_REFUSED) })
  /** Concurrent misses of one key share one lookup. */
  const loading = new Map<string, Promise<Known>>()
  const lifeMs = config.tokens.accessTtlSeconds * 1000
  const identityHeaders = createIdentityHeaders(config)
  const metadataClaims = createMetadataClaims(config.tokens.claims)
  const [hits, misses, negatives] = (['hit', 'miss', 'negative'] as const).map((result) => metrics.apiKeyCache.bind({ result }))

  /** @returns false when the key must be looked up again */
  function judge({ principal, keyExpiresAt }: Known): boolean {
    if (revocations.isEnded(principal.sessionId)) throw problem('token_revoked')
    if (keyExpiresAt <= clock.now()) throw problem('token_expired')
    return !revocations.isOutdated(principal.id, principal.epoch)
  }

  function recall(digest: string): Principal | null {
    const entry = known.get(digest)
    const now = clock.steady()
    if (!entry || now >= entry.until || !judge(entry)) return null
    if (now >= entry.reloadAt) {
      entry.reloadAt = now + RELOAD_RETRY_MS
      load(digest).catch(() => {})
    }
    return use(entry, now)
  }

  function use(entry: Known, now: number): Principal {
    if (now >= entry.useWrittenAt + USE_MS) {
      entry.useWrittenAt = now
      // not awaited: when this write is lost, the next write replaces it
      touchApiKey(db, entry.principal.sessionId).catch(() => {})
    }
    return entry.principal
  }

  async function lookUp(digest: string): Promise<Principal> {
    for (let attempt = 1; ; attempt++) {
      const entry = await load(digest)
      if (judge(entry)) return use(entry, clock.steady())
      // another request may have begun this lookup before the change: the second lookup begins after it
      if (attempt === 2) throw problem('token_revoked', { cause: 'the database does not show the announced change' })
    }
  }

  function load(digest: string): Promise<Known> {
    const pending = loading.get(digest) ?? read(digest).finally(() => loading.delete(digest))
    loading.set(digest, pending)
    return pending
  }

  async function read(digest: string): Promise<Known> {
    const no = refused.get(digest)
    if (no && clock.steady() < no.until) {
      negatives!.count++
      throw problem(no.code, { cause: 'refused a moment ago' })
    }
    misses!.count++
    const found = await findApiKey(db, digest)
    const now = clock.steady()
    const code = refusalOf(found, clock.now())
    if (code !== null) {
      known.delete(digest)
      refused.set(digest, { code, until: now + REFUSED_MS })
      dropEnded(refused, ({ until }) => now >= until)
      throw problem(code, { cause: found ? 'the API key has ended, or its owner is disabled' : 'unknown API key' })
    }
    const entry: Known = {
      principal: toPrincipal(found!),
      keyExpiresAt: found!.key.expires_at?.getTime() ?? Number.POSITIVE_INFINITY,
      reloadAt: now + lifeMs / 2,
      until: now + lifeMs,
      useWrittenAt: known.get(digest)?.useWrittenAt ?? Number.NEGATIVE_INFINITY,
    }
    known.set(digest, entry)
    dropEnded(known, ({ until }) => now >= until)
    return entry
  }

  function toPrincipal({ key, owner }: Found): Principal {
    const owned = grantsOf(owner.roles)
    const carried = grantsOf(key.roles)
    // a key loses the roles and scopes that its owner has lost
    const roles = carried.roles.filter((role) => owned.roles.includes(role))
    const scopes = key.scopes.filter((scope) => owned.scopes.includes(scope))
    const horizon = clock.now() + lifeMs
    return {
      kind: 'apiKey',
      id: key.user_id,
      sessionId: key.id,
      cookieId: null,
      email: owner.email,
      roles: new Set(roles),
      scopes: new Set(scopes),
      epoch: owner.token_epoch,
      expiresAt: Math.floor(Math.min(horizon, key.expires_at?.getTime() ?? horizon) / 1000),
      mustChangePassword: owner.password_must_change,
      hasFactor: false,
      // an owner with a second factor used it to create the key
      owesFactor: !owner.mfa_enabled && config.auth.mfa.requiredForRoles.some((role) => roles.includes(role)),
      authenticatedAt: 0,
      external: null,
      signingKid: null,
      identityHeaders: identityHeaders({
        id: key.user_id,
        email: owner.email,
        isEmailVerified: owner.email_verified_at !== null,
        roles,
        sessionId: null,
        mapped: metadataClaims.of(owner.metadata),
      }),
    }
  }

  const notWhole = () => problem('token_invalid', { cause: 'the checksum of the API key is wrong' })

  return {
    authenticate(key, client) {
      const digest = digestOf(key)
      const principal = recall(digest)
      if (principal) {
        hits!.count++
        return principal
      }
      revocations.assertLoaded()
      return isApiKey(key) ? limitInvalidTokens.check(client, () => lookUp(digest)) : limitInvalidTokens.refuse(client, notWhole())
    },
    isKnown: (key) => known.has(digestOf(key)),
    async inspect(key) {
      if (!isApiKey(key)) throw notWhole()
      const found = await findApiKey(db, digestOf(key))
      const code = refusalOf(found, clock.now())
      if (code !== null) throw problem(code)
      return { ...found!, principal: toPrincipal(found!) }
    },
  }
}

type Found = NonNullable<Awaited<ReturnType<typeof findApiKey>>>

/** @param now milliseconds */
function refusalOf(found: Found | undefined, now: number): ErrorCode | null {
  if (!found) return 'token_invalid'
  if (found.key.revoked_at || found.owner.disabled_at) return 'token_revoked'
  return found.key.expires_at && found.key.expires_at.getTime() <= now ? 'token_expired' : null
}
