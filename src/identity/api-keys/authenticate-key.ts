/**
 * API key → Principal, without a look-up per request. What the database said is kept for as long as an access token lives, and judged on every
 * hit by the same revocations as tokens are: a key that is revoked is refused at once, one whose owner has changed is looked up anew. It is
 * looked up behind a request, too, when half of that time is over: the other half is for when the database is away.
 */
import { LRUCache } from 'lru-cache'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type ErrorCode, problem } from '../../platform/lib/errors.ts'
import { digestOf, isApiKey } from '../../platform/request/api-key-format.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { AuthenticateKey } from '../access/authenticate.ts'
import { createIdentityHeaders } from '../access/identity-headers.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { Principal } from '../access/principal.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { Grants } from '../users/roles.ts'
import { type ApiKey, findApiKey, type KeyOwner, touchApiKey } from './api-keys.repo.ts'

export interface ApiKeyAuthentication {
  /** @throws token_invalid, token_expired, token_revoked, rate_limited, unavailable */
  authenticate: AuthenticateKey
  /** The same, from the database and without a limit: for whoever asks about somebody else's key. */
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

/** Times in milliseconds; those of `clock.steady()` unless something else is said. */
interface Known {
  principal: Principal
  /** By `clock.now()`: of the key itself. */
  keyExpiresAt: number
  reloadAt: number
  until: number
  toldUseAt: number
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
  /** By digest. What is refused has a map of its own: guesses push nobody out. */
  const known = new LRUCache<string, Known>({ max: MAX_KNOWN })
  const refused = new LRUCache<string, Refused>({ max: MAX_REFUSED })
  /** Concurrent misses of one key share one look-up. */
  const loading = new Map<string, Promise<Known>>()
  const lifeMs = config.tokens.accessTtlSeconds * 1000
  const identityHeaders = createIdentityHeaders(config.headers)
  const [hits, misses, negatives] = (['hit', 'miss', 'negative'] as const).map((result) => metrics.apiKeyCache.bind({ result }))

  /** @returns false when it has to be looked up anew */
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
    if (now >= entry.toldUseAt + USE_MS) {
      entry.toldUseAt = now
      // nobody waits for it, and one that is lost is made up for by the next
      touchApiKey(db, entry.principal.sessionId).catch(() => {})
    }
    return entry.principal
  }

  async function lookUp(digest: string): Promise<Principal> {
    for (let attempt = 1; ; attempt++) {
      const entry = await load(digest)
      if (judge(entry)) return use(entry, clock.steady())
      // a look-up that others had begun before the change: the next one begins after it
      if (attempt === 2) throw problem('token_revoked', { cause: 'the database knows nothing of the change that was told' })
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
    const code = refusalOf(found, clock.now())
    if (code !== null) {
      known.delete(digest)
      refused.set(digest, { code, until: clock.steady() + REFUSED_MS })
      throw problem(code, { cause: found ? 'an API key that is over, or whose owner is disabled' : 'an unknown API key' })
    }
    const now = clock.steady()
    const entry: Known = {
      principal: toPrincipal(found!),
      keyExpiresAt: found!.key.expires_at?.getTime() ?? Number.POSITIVE_INFINITY,
      reloadAt: now + lifeMs / 2,
      until: now + lifeMs,
      toldUseAt: known.get(digest)?.toldUseAt ?? Number.NEGATIVE_INFINITY,
    }
    known.set(digest, entry)
    return entry
  }

  function toPrincipal({ key, owner }: Found): Principal {
    const owned = grantsOf(owner.roles)
    const carried = grantsOf(key.roles)
    // what the owner has lost since, the key has lost
    const roles = carried.roles.filter((role) => owned.roles.includes(role))
    const scopes = key.scopes.filter((scope) => owned.scopes.includes(scope))
    const horizon = clock.now() + lifeMs
    return {
      kind: 'apiKey',
      id: key.user_id,
      sessionId: key.id,
      email: owner.email,
      roles: new Set(roles),
      scopes: new Set(scopes),
      epoch: owner.token_epoch,
      expiresAt: Math.floor(Math.min(horizon, key.expires_at?.getTime() ?? horizon) / 1000),
      mustChangePassword: owner.password_must_change,
      hasFactor: false,
      // who had one when the key was made was asked for it then
      owesFactor: !owner.mfa_enabled && config.auth.mfa.requiredForRoles.some((role) => roles.includes(role)),
      authenticatedAt: 0,
      identityHeaders: identityHeaders({
        id: key.user_id,
        email: owner.email,
        isEmailVerified: owner.email_verified_at !== null,
        roles,
        sessionId: null,
      }),
    }
  }

  function assertWhole(key: string): void {
    if (!isApiKey(key)) throw problem('token_invalid', { cause: 'the checksum of the API key is wrong' })
  }

  return {
    authenticate(key, client) {
      const digest = digestOf(key)
      const principal = recall(digest)
      if (principal) {
        hits!.count++
        return principal
      }
      revocations.assertLoaded()
      return limitInvalidTokens(client, async () => {
        assertWhole(key)
        return lookUp(digest)
      })
    },
    async inspect(key) {
      assertWhole(key)
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
