/**
 * Authenticates session cookies, without a database lookup per request. A worker remembers what a value stands for during the lifetime of an
 * access token. Every hit checks the revocations: a session that was ended is refused at once, and a user who has changed is read again.
 * After half of its time a value is read in the background, so that the other half is left for an outage of the database.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { LRUCache } from 'lru-cache'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { dropEnded } from '../../platform/lib/drop-ended.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { shareOfHeap } from '../../platform/lib/heap-limit.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { type CookiePurpose, type CookieValues, cookieHash, looksLikeCookieValue } from '../sessions/cookie-values.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { type FoundCookie, findCookieByHash, findCookieById, touchCookieSession } from '../sessions/session-cookies.repo.ts'
import { idleTtlSeconds } from '../sessions/session-life.ts'
import { showsFactor } from '../tokens/amr.ts'
import { createMetadataClaims } from '../tokens/metadata-claims.ts'
import type { Grants } from '../users/roles.ts'
import type { CrossSite } from './cross-site.ts'
import { createIdentityHeaders } from './identity-headers.ts'
import type { InvalidTokenLimit } from './invalid-token-limit.ts'
import type { Principal } from './principal.ts'
import { apiKeyOf, asBearerHeader } from './request-credentials.ts'
import type { SessionCookies } from './session-cookie.ts'

export interface CookieAuthentication {
  /**
   * The origin rule comes first. A cookie that is no valid session counts as not sent.
   * @param isStrict the route's GET requests have effects
   * @param isPublic the route admits everybody: while the database is away, an unknown cookie counts as not sent
   * @returns null without a session. Synchronous for a remembered session
   * @throws origin_untrusted, unavailable
   */
  authenticate(
    request: IncomingMessage,
    context: { client: Client; isUpgrade: boolean },
    options: { isStrict: boolean; isPublic: boolean },
  ): Principal | null | Promise<Principal | null>
  hasCookie(request: IncomingMessage, client: Client): boolean
  /** A value of the cookie was looked up before, and is remembered. */
  isKnown(headers: IncomingHttpHeaders): boolean
  /**
   * Reads the session again, for a stream that outlives what a worker remembers. A stream goes on when a step-up has changed the cookie, at
   * its own level. It counts as use of the session. @returns null when the session has ended. @throws unavailable
   */
  reload(principal: Principal): Promise<Principal | null>
}

export interface CookieAuthenticationDeps {
  db: Db
  cookies: SessionCookies
  values: CookieValues
  purpose: CookiePurpose
  crossSite: CrossSite
  revocations: Revocations
  limitInvalidTokens: InvalidTokenLimit
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
  metrics: Pick<Metrics, 'cookieCache'>
  clock: Clock
}

/** Times are in milliseconds, and of `clock.steady()`. */
interface Known {
  principal: Principal
  /** The absolute end of the session. */
  endsAt: number
  /** When the value ends after a later value has replaced it. */
  supersededUntil: number
  /** When the session has not been used for too long, as far as this worker knows. */
  idleAt: number
  reloadAt: number
  until: number
  useWrittenAt: number
}

/** `unsure`: the database must be asked. */
type Judgement = 'good' | 'ended' | 'unsure'

/** About 2 KB each. */
const MAX_KNOWN = 20_000
const MAX_REFUSED = 10_000
const REFUSED_MS = 10_000
const RELOAD_RETRY_MS = 1000
/** Requests that were on their way when a step-up changed the cookie. */
const SUPERSEDED_MS = 10_000
const USE_SECONDS = 60

export function createCookieAuthentication({
  db,
  cookies,
  values,
  purpose,
  crossSite,
  revocations,
  limitInvalidTokens,
  grantsOf,
  config,
  metrics,
  clock,
}: CookieAuthenticationDeps): CookieAuthentication {
  /** By value. Refused values have a map of their own, so that they evict no valid session. */
  const known = new LRUCache<string, Known>({ max: shareOfHeap(MAX_KNOWN) })
  const refused = new LRUCache<string, number>({ max: shareOfHeap(MAX_REFUSED) })
  /** Concurrent misses of one value share one lookup. */
  const loading = new Map<string, Promise<Known | null>>()
  const { tokens, auth } = config
  const lifeMs = tokens.accessTtlSeconds * 1000
  const idleMs = idleTtlSeconds(config) * 1000
  // another worker judges by the time that is written
  const useSeconds = Math.min(USE_SECONDS, idleMs / 4000)
  const identityHeaders = createIdentityHeaders(config)
  const metadataClaims = createMetadataClaims(tokens.claims)
  const [hits, misses, negatives, rubbish] = (['hit', 'miss', 'negative', 'rubbish'] as const).map((result) =>
    metrics.cookieCache.bind({ result }),
  )

  function judge(entry: Known, now: number): Judgement {
    const { principal } = entry
    if (revocations.isEnded(principal.sessionId) || now >= entry.endsAt || now >= entry.supersededUntil) return 'ended'
    // a step-up on another worker: the database says since when
    if (entry.supersededUntil === Number.POSITIVE_INFINITY && revocations.isEnded(principal.cookieId!)) return 'unsure'
    if (revocations.isOutdated(principal.id, principal.epoch)) return 'unsure'
    // another worker may have seen the session since
    return now >= entry.idleAt ? 'unsure' : 'good'
  }

  /** @returns undefined when the value must be looked up */
  function recall(value: string): Principal | null | undefined {
    const entry = known.get(value)
    const now = clock.steady()
    if (!entry || now >= entry.until) return undefined
    const judgement = judge(entry, now)
    if (judgement === 'unsure') return undefined
    hits!.count++
    if (judgement === 'ended') {
      known.delete(value)
      return null
    }
    if (now >= entry.reloadAt) {
      entry.reloadAt = now + RELOAD_RETRY_MS
      load(value).catch(() => {})
    }
    return use(entry, now)
  }

  function use(entry: Known, now: number): Principal {
    entry.idleAt = now + idleMs
    if (now >= entry.useWrittenAt + useSeconds * 1000) {
      entry.useWrittenAt = now
      // not awaited: when this write is lost, the next write replaces it
      touchCookieSession(db, entry.principal.sessionId, useSeconds).catch(() => {})
    }
    return entry.principal
  }

  async function lookUp(value: string): Promise<Principal | null> {
    for (let attempt = 1; ; attempt++) {
      const entry = await load(value)
      if (!entry) return null
      const now = clock.steady()
      const judgement = judge(entry, now)
      if (judgement === 'good') return use(entry, now)
      // another request may have begun this lookup before the change: the second lookup begins after it
      if (judgement === 'ended' || attempt === 2) return null
    }
  }

  function load(value: string): Promise<Known | null> {
    const pending = loading.get(value) ?? read(value).finally(() => loading.delete(value))
    loading.set(value, pending)
    return pending
  }

  async function read(value: string): Promise<Known | null> {
    const refusedUntil = refused.get(value)
    if (refusedUntil !== undefined && clock.steady() < refusedUntil) {
      negatives!.count++
      return null
    }
    misses!.count++
    const found = await findCookieByHash(db, purpose, cookieHash(value))
    const now = clock.steady()
    const before = known.get(value)
    const entry = found && entryOf(found, now, before)
    if (!entry) {
      known.delete(value)
      refused.set(value, now + REFUSED_MS)
      dropEnded(refused, (until) => now >= until)
      return null
    }
    known.set(value, entry)
    dropEnded(known, ({ until }) => now >= until)
    return entry
  }

  /** @returns null when the session has ended */
  function entryOf(found: FoundCookie, now: number, before: Known | undefined): Known | null {
    if (found.revoked_at || found.disabled_at) return null
    // the rest of a time by the database's clock, which is the same for all workers
    const at = (time: Date) => now + time.getTime() - found.now.getTime()
    const usedAt = at(found.last_used_at)
    const entry: Known = {
      principal: toPrincipal(found, at(found.expires_at) - now),
      endsAt: at(found.expires_at),
      supersededUntil: found.superseded_at ? at(found.superseded_at) + SUPERSEDED_MS : Number.POSITIVE_INFINITY,
      idleAt: Math.max(usedAt + idleMs, before?.idleAt ?? 0),
      reloadAt: now + lifeMs / 2,
      until: now + lifeMs,
      useWrittenAt: Math.max(usedAt, before?.useWrittenAt ?? 0),
    }
    return now < Math.min(entry.endsAt, entry.supersededUntil, entry.idleAt) ? entry : null
  }

  function toPrincipal(found: FoundCookie, restMs: number): Principal {
    const { roles, scopes } = grantsOf(found.roles)
    const hasFactor = showsFactor(found.amr)
    return {
      kind: 'user',
      id: found.user_id,
      sessionId: found.session_id,
      cookieId: found.id,
      email: found.email,
      roles: new Set(roles),
      scopes: new Set(scopes),
      epoch: found.token_epoch,
      external: null,
      signingKid: null,
      expiresAt: Math.floor((clock.now() + Math.min(lifeMs, restMs)) / 1000),
      mustChangePassword: found.password_must_change,
      hasFactor,
      owesFactor: !hasFactor && auth.mfa.requiredForRoles.some((role) => roles.includes(role)),
      authenticatedAt: Math.floor(found.auth_time.getTime() / 1000),
      identityHeaders: identityHeaders({
        id: found.user_id,
        email: found.email,
        isEmailVerified: found.email_verified_at !== null,
        roles,
        sessionId: found.session_id,
        mapped: metadataClaims.of(found.metadata),
      }),
    }
  }

  /** @returns `forged` for the form of our values with a wrong tag */
  async function resolve(value: string): Promise<Principal | null | 'forged'> {
    const remembered = recall(value)
    if (remembered !== undefined) return remembered
    if (values.isGenuine(purpose, value)) return lookUp(value)
    return looksLikeCookieValue(value) ? 'forged' : null
  }

  /** Two sessions do not name one caller: another path or domain has added a cookie, perhaps of an attacker. */
  async function resolveAll(sent: readonly string[], client: Client): Promise<Principal | null> {
    revocations.assertLoaded()
    const answers = await Promise.all(sent.map(resolve))
    const found = answers.filter((answer) => answer !== null && answer !== 'forged')
    if (found.length === 0 && answers.includes('forged')) await countRubbish(client)
    const [first, ...others] = found
    if (!first || others.some(({ sessionId }) => sessionId !== first.sessionId)) return null
    // several values of one session: the value that shows the latest authentication is the current value
    return others.reduce((best, principal) => (principal.authenticatedAt > best.authenticatedAt ? principal : best), first)
  }

  /** Never an answer: one old cookie is sent with every file of a page, and a whole office shares an address. */
  async function countRubbish(client: Client): Promise<void> {
    rubbish!.count++
    await limitInvalidTokens
      .refuse(client, problem('token_invalid', { cause: 'the tag of the session cookie is wrong' }))
      .catch((error) => {
        if (!(error instanceof Problem)) throw error
      })
  }

  function identify(sent: readonly string[], client: Client): Principal | null | Promise<Principal | null> {
    if (sent.length === 1) {
      const remembered = recall(sent[0]!)
      if (remembered !== undefined) return remembered
    }
    return resolveAll(sent, client)
  }

  function identifyWhenReady(sent: readonly string[], client: Client): Principal | null | Promise<Principal | null> {
    const waiting = revocations.ready()
    return waiting === null ? identify(sent, client) : waiting.then(() => identify(sent, client))
  }

  return {
    authenticate(request, { client, isUpgrade }, { isStrict, isPublic }) {
      if (request.headers.cookie === undefined || hasOtherCredential(request.headers, isUpgrade)) return null
      const sent = cookies.read(request, client)
      if (sent.length === 0 || !crossSite.admitsCookie(request, client, isUpgrade, isStrict)) return null
      if (!isPublic) return identifyWhenReady(sent, client)
      try {
        const found = identifyWhenReady(sent, client)
        return found instanceof Promise ? found.catch(asAnonymous) : found
      } catch (error) {
        return asAnonymous(error)
      }
    },
    hasCookie: (request, client) => cookies.read(request, client).length > 0,
    isKnown: (headers) => cookies.readAny(headers).some((value) => known.has(value)),
    async reload({ cookieId, sessionId }) {
      if (cookieId === null || revocations.isEnded(sessionId)) return null
      const found = await findCookieById(db, cookieId)
      const now = clock.steady()
      const entry = found && entryOf({ ...found, superseded_at: null }, now, undefined)
      return entry ? use(entry, now) : null
    },
  }
}

/** A credential in a header was sent on purpose. Another scheme than Bearer belongs to the upstream, and no browser adds it by itself. */
const hasOtherCredential = (headers: IncomingHttpHeaders, isUpgrade: boolean): boolean =>
  headers.authorization !== undefined || apiKeyOf(headers) !== null || (isUpgrade && asBearerHeader(headers) !== headers)

function asAnonymous(error: unknown): null {
  if (error instanceof Problem && error.code === 'unavailable') return null
  throw error
}
