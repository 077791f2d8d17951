/**
 * Open WebSockets and event streams. A request is authenticated once, but a stream stays open: it is ended when its token expires or its
 * session is revoked. An answer that somebody waits for may go on for some time after its token has expired. A stream by session cookie has
 * no token that expires: its session is read again, and it goes on while the session may use the route. The number of streams of each
 * principal is bounded.
 */
import { authorize } from '../../identity/access/access-policy.ts'
import type { CookieAuthentication } from '../../identity/access/authenticate-cookie.ts'
import type { Principal } from '../../identity/access/principal.ts'
import type { Revocations } from '../../identity/sessions/revocations.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { addressKey } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Authenticated } from '../routing/exchange.ts'
import type { Route } from '../routing/route-table.ts'

export type StreamKind = 'websocket' | 'sse'
/** Why a stream ended; the label of `streams_closed_total`. */
export type StreamEnd = 'client' | 'upstream' | 'refused' | 'idle' | 'expired' | 'revoked' | 'reloaded' | 'stopping'

export interface Streams {
  /**
   * @param isAnswer its client waits for its end. Without it, a client that is cut off comes back by itself
   * @param end called at most once, when the stream must end
   * @returns a function to call when the stream has ended, with the reason
   * @throws streams_exceeded
   */
  open(kind: StreamKind, isAnswer: boolean, request: StreamRequest, end: (reason: StreamEnd) => void): (reason: StreamEnd) => void
  /** Puts the terms of a configuration in force, also for the open streams. */
  adopt(terms: StreamTerms): void
  /** The streams that are open now. */
  count(): number
  /** For the stop of the gateway. Answers go on. */
  endAll(): void
  stop(): void
}

/** The request that began a stream. */
export interface StreamRequest {
  method: string
  exchange: Authenticated
}

export interface StreamsDeps {
  revocations: Revocations
  clock: Clock
  metrics: Metrics
}

/** What the configuration says about streams. */
export interface StreamTerms {
  /** Null: browsers have no session cookie. */
  cookies: Pick<CookieAuthentication, 'reload'> | null
  /** Of one user, or of one address without a token. */
  maxOfOne: number
  rules: Config['streams']
  routes: ReadonlySet<Route>
  /** Of the configuration before. */
  routesBefore: ReadonlySet<Route>
  /** @param route of the configuration before. @returns the route of the same request now. Null: what admitted the stream has changed */
  routeAfter(request: StreamRequest, route: Route): Route | null
  /** The roles of the principal grant something else than before. */
  hasOtherGrants(principal: Principal): boolean
}

interface Open {
  request: StreamRequest
  principal: Principal | null
  route: Route
  /** When the session is read again, by `clock.now()` in milliseconds. */
  reloadAt: number
  /** After a read that failed, by `clock.now()` in milliseconds. */
  retryAt: number
  readFailed: boolean
  isAnswer: boolean
  end(reason: StreamEnd): void
}

const SWEEP_MS = 1000
/** Revocations come in bursts: one pass over all streams serves many of them. */
const REVOKED_SWEEP_MS = 50
/** Sessions that are read at a time. Many streams may have begun together, after a restart of the gateway. */
const MAX_READS = 5
const RETRY_MS = 1000

export function createStreams({ revocations, clock, metrics }: StreamsDeps): Streams {
  let terms = NO_TERMS
  let overrunMs = 0
  const streams = new Set<Open>()
  const counts = new Map<string, number>()

  function isRevoked({ sessionId, id, epoch, signingKid, external }: Principal): boolean {
    if (external !== null) return revocations.isBlocked(external)
    return revocations.isRevoked(sessionId, id, epoch) || (signingKid !== null && revocations.isKeyRevoked(signingKid))
  }

  function sweep(): void {
    for (const stream of streams) {
      const { principal, isAnswer, end } = stream
      if (!principal) continue
      if (principal.cookieId !== null) judgeSession(stream, principal)
      else if (isRevoked(principal)) end('revoked')
      else if (principal.expiresAt * 1000 + (isAnswer ? overrunMs : 0) <= clock.now()) end('expired')
    }
    readNext()
  }

  /** A raised epoch says only that the user has changed. What was read last holds until its time is over, also without the database. */
  function judgeSession(stream: Open, principal: Principal): void {
    const now = clock.now()
    if (revocations.isEnded(principal.sessionId)) stream.end('revoked')
    else if (now < stream.reloadAt && !revocations.isOutdated(principal.id, principal.epoch)) return
    else if (stream.readFailed && now >= principal.expiresAt * 1000 + (stream.isAnswer ? overrunMs : 0)) stream.end('expired')
    else if (now >= stream.retryAt && !reading.has(principal.cookieId!)) waiting.set(principal.cookieId!, principal)
  }

  /** By the id of the cookie's value: streams of one value share one read. */
  const waiting = new Map<string, Principal>()
  const reading = new Set<string>()

  function readNext(): void {
    for (const [cookieId, principal] of waiting) {
      if (reading.size >= MAX_READS) return
      waiting.delete(cookieId)
      void readAgain(cookieId, principal).finally(readNext)
    }
  }

  async function readAgain(cookieId: string, principal: Principal): Promise<void> {
    reading.add(cookieId)
    const known = await terms.cookies!.reload(principal).catch(() => undefined)
    reading.delete(cookieId)
    for (const stream of streams) if (stream.principal?.cookieId === cookieId) renew(stream, known)
  }

  /** @param known null: the session has ended. Undefined: it could not be read */
  function renew(stream: Open, known: Principal | null | undefined): void {
    if (known === null) stream.end('revoked')
    // a read that began before a change is done again, and the time of the stream does not grow
    else if (known === undefined || revocations.isOutdated(known.id, known.epoch)) {
      stream.readFailed = true
      stream.retryAt = clock.now() + RETRY_MS
    } else if (mayUse(stream.route, known)) {
      stream.principal = known
      stream.reloadAt = reloadTimeOf(known)
      stream.readFailed = false
    } else stream.end('revoked')
  }

  /** By the rule of the route, as for a new request: a role may be lost, or the login may be too long ago. */
  function mayUse({ access }: Route, principal: Principal): boolean {
    try {
      authorize(access, principal, () => clock.now())
      return true
    } catch (error) {
      if (error instanceof Problem) return false
      throw error
    }
  }

  /** After half of its time: the other half is left for an outage of the database. */
  function reloadTimeOf({ expiresAt }: Principal): number {
    const now = clock.now()
    return now + (expiresAt * 1000 - now) / 2
  }

  /** A session by cookie is read again, and judged by its new grants. A token says itself what it grants: its stream ends. */
  function moveOn(stream: Open): void {
    // a request that took longer than a whole configuration was in force is judged by neither
    const route = terms.routesBefore.has(stream.route) ? terms.routeAfter(stream.request, stream.route) : null
    if (route === null) {
      stream.end('reloaded')
      return
    }
    stream.route = route
    const { principal } = stream
    if (principal === null || !terms.hasOtherGrants(principal)) return
    if (principal.cookieId !== null) stream.reloadAt = 0
    else if (!route.cookieRule.isPublic) stream.end('reloaded')
  }

  let soon: NodeJS.Timeout | undefined
  revocations.onChange(() => {
    if (streams.size)
      soon ??= setTimeout(() => {
        soon = undefined
        sweep()
      }, REVOKED_SWEEP_MS).unref()
  })
  const timer = setInterval(sweep, SWEEP_MS).unref()

  return {
    open(kind, isAnswer, request, end) {
      const { principal, client, route } = request.exchange
      const holder = principal?.id ?? addressKey(client.address)
      const held = counts.get(holder) ?? 0
      if (held >= terms.maxOfOne) throw problem('streams_exceeded', { cause: `${held} streams`, headers: { 'retry-after': '5' } })
      counts.set(holder, held + 1)
      metrics.streamsOpen.inc({ kind })
      let isEnding = false
      const stream: Open = {
        request,
        principal,
        route,
        reloadAt: principal === null ? 0 : reloadTimeOf(principal),
        retryAt: 0,
        readFailed: false,
        isAnswer,
        end(reason) {
          if (isEnding) return
          isEnding = true
          end(reason)
        },
      }
      streams.add(stream)
      // the request began under the configuration before; its caller must know the stream first
      if (!terms.routes.has(route)) queueMicrotask(() => moveOn(stream))
      return (reason) => {
        if (!streams.delete(stream)) return
        const left = counts.get(holder)! - 1
        if (left > 0) counts.set(holder, left)
        else counts.delete(holder)
        metrics.streamsOpen.dec({ kind })
        metrics.streamsClosed.inc({ reason })
      }
    },
    adopt(next) {
      terms = next
      overrunMs = next.rules.onExpiry === 'finish' ? next.rules.maxOverrunSeconds * 1000 : 0
      for (const stream of streams) moveOn(stream)
      sweep()
    },
    count: () => streams.size,
    endAll() {
      for (const { isAnswer, end } of streams) if (!isAnswer) end('stopping')
    },
    stop() {
      clearInterval(timer)
      clearTimeout(soon)
    },
  }
}

const NO_TERMS: StreamTerms = {
  cookies: null,
  maxOfOne: 0,
  rules: { onExpiry: 'break', maxOverrunSeconds: 0 },
  routes: new Set(),
  routesBefore: new Set(),
  routeAfter: () => null,
  hasOtherGrants: () => true,
}
