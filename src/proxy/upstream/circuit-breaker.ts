/**
 * Passive health of one upstream, learnt from its ordinary requests: closed → open after failures → half-open, with one trial request at a
 * time → closed, or open again for longer. It opens only on what a probe of the upstream would find. A slow path, a lost connection or a
 * client that leaves says nothing about the health of an upstream.
 */
import type { Clock } from '../../platform/lib/clock.ts'

export type CircuitState = 'closed' | 'half-open' | 'open'

/**
 * What a request has shown about its upstream. `unreachable`: there was no connection, or no TLS. `unanswered`: the request was sent, and the
 * time for its answer passed, or its fresh connection was closed. `failing`: a status that the route counts as a failure.
 */
export type Outcome = 'answered' | 'unreachable' | 'unanswered' | 'failing'

/** The facts of a request that its outcome depends on. */
export interface Asked {
  /** Milliseconds, by the clock of the breaker. */
  at: number
  /** Several requests for one path may hang because of that path. */
  path: string
}

export interface CircuitBreaker {
  state(): CircuitState
  /** A request may be sent: always while closed, one at a time while half-open. */
  permits(): boolean
  /** A request is sent. @returns true when it is the trial request: the caller must `report` or `release` it */
  begin(): boolean
  report(isTrial: boolean, outcome: Outcome, asked: Asked): void
  /** The trial request has a connection. @returns true when that proves the upstream healthy: the request is then no trial any more */
  connected(): boolean
  /** The trial request has no result: its client left. */
  release(): void
  /** Milliseconds until a request may be sent again; 0 when it may be sent now. */
  waitMs(): number
}

export interface CircuitBreakerOptions {
  /** Failures in a row that open it; 0: it never opens. */
  failures: number
  /** Unanswered requests open it when nothing was answered for this long. */
  openAfterMs: number
  /** How long it stays open. Each failed trial doubles it, up to 8 times the original. */
  openMs: number
}

export interface CircuitBreakerDeps {
  clock: Clock
  /** Opens a connection to the upstream. @returns false when there is none, or when the upstream closes it at once */
  probe(): Promise<boolean>
  onChange(state: CircuitState): void
}

const LONGEST = 8

export function createCircuitBreaker(
  { failures, openAfterMs, openMs }: CircuitBreakerOptions,
  { clock, probe, onChange }: CircuitBreakerDeps,
): CircuitBreaker {
  /** Requests in a row, without an answer to any other request. */
  let failed = 0
  let unanswered = 0
  let firstPath = ''
  let hasSeveralPaths = false
  let answeredAt = 0
  /** The first of the unanswered requests was sent then. */
  let silentSince = 0
  let probedAt = Number.NEGATIVE_INFINITY
  let openedAt = 0
  /** 0: closed. */
  let openForMs = 0
  /** It opened because there was no connection. */
  let isUnreachable = false
  let isOnTrial = false

  /** A wall clock that was set back must not keep it open. */
  const leftMs = () => {
    const passed = clock.now() - openedAt
    return openForMs === 0 || passed < 0 ? 0 : Math.max(0, openForMs - passed)
  }
  const state = (): CircuitState => (openForMs === 0 ? 'closed' : leftMs() > 0 ? 'open' : 'half-open')

  function open(forMs: number): void {
    openForMs = forMs
    openedAt = clock.now()
    onChange('open')
  }

  function close(): void {
    openForMs = 0
    failed = 0
    unanswered = 0
    onChange('closed')
  }

  function countUnanswered({ at, path }: Asked): void {
    if (unanswered++ === 0) {
      silentSince = at
      firstPath = path
      hasSeveralPaths = false
    } else if (path !== firstPath) hasSeveralPaths = true
    if (unanswered < failures) return
    isUnreachable = false
    if (hasSeveralPaths && clock.now() - silentSince >= openAfterMs) open(openMs)
    else void openUnlessReachable()
  }

  /** One path may be slow by its nature, such as long polling: a fresh connection decides. */
  async function openUnlessReachable(): Promise<void> {
    if (Math.abs(clock.now() - probedAt) < openMs) return
    probedAt = clock.now()
    const isReachable = await probe()
    // an answer may have come meanwhile
    if (isReachable || openForMs > 0 || unanswered < failures) return
    isUnreachable = true
    open(openMs)
  }

  return {
    state,
    permits: () => openForMs === 0 || (!isOnTrial && leftMs() === 0),
    begin() {
      if (openForMs === 0) return false
      isOnTrial = true
      return true
    },
    connected() {
      if (!isOnTrial || !isUnreachable) return false
      isOnTrial = false
      close()
      return true
    },
    report(isTrial, outcome, asked) {
      const hasAnswered = outcome === 'answered'
      if (hasAnswered) answeredAt = clock.now()
      if (isTrial) {
        isOnTrial = false
        if (hasAnswered) close()
        else open(Math.min(openForMs * 2, openMs * LONGEST))
        return
      }
      // a request that was sent before the breaker opened says nothing new
      if (openForMs > 0) return
      if (hasAnswered) {
        failed = 0
        unanswered = 0
        return
      }
      // other requests were answered meanwhile: the fault is in this request, not in the upstream
      if (answeredAt > asked.at || failures === 0) return
      if (outcome === 'unanswered') return countUnanswered(asked)
      failed++
      isUnreachable = outcome === 'unreachable'
      if (failed >= failures) open(openMs)
    },
    release() {
      isOnTrial = false
    },
    waitMs: leftMs,
  }
}
