/**
 * Passive health of one upstream, learnt from its ordinary requests: closed → open after so many failures in a row → half-open, with one
 * trial request at a time → closed, or open again for longer.
 */
import type { Clock } from '../../platform/lib/clock.ts'

export type CircuitState = 'closed' | 'half-open' | 'open'

export interface CircuitBreaker {
  state(): CircuitState
  /** A request may be sent: always while closed, one at a time while half-open. */
  permits(): boolean
  /** A request is sent. @returns true when it is the trial request: the caller must `report` or `release` it */
  begin(): boolean
  /** The upstream answered the request of that time, or failed by its own fault. */
  report(isTrial: boolean, hasAnswered: boolean, askedAt: number): void
  /** The trial request has no result: its client left. */
  release(): void
  /** Milliseconds until a request may be sent again; 0 when it may be sent now. */
  waitMs(): number
}

export interface CircuitBreakerOptions {
  /** Failures in a row that open it; 0: it never opens. */
  failures: number
  /** How long it stays open. Each failed trial doubles it, up to 8 times the original. */
  openMs: number
}

const LONGEST = 8

export function createCircuitBreaker(
  { failures, openMs }: CircuitBreakerOptions,
  clock: Clock,
  onChange: (state: CircuitState) => void,
): CircuitBreaker {
  let failed = 0
  let answeredAt = 0
  let openedAt = 0
  /** 0: closed. */
  let openForMs = 0
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

  return {
    state,
    permits: () => openForMs === 0 || (!isOnTrial && leftMs() === 0),
    begin() {
      if (openForMs === 0) return false
      isOnTrial = true
      return true
    },
    report(isTrial, hasAnswered, askedAt) {
      if (hasAnswered) answeredAt = clock.now()
      if (isTrial) {
        isOnTrial = false
        if (!hasAnswered) return open(Math.min(openForMs * 2, openMs * LONGEST))
        openForMs = 0
        failed = 0
        return onChange('closed')
      }
      // a request that was sent before the breaker opened says nothing new
      if (openForMs > 0) return
      // other requests were answered meanwhile: the fault is in this request, not in the upstream
      if (!hasAnswered && answeredAt > askedAt) return
      failed = hasAnswered ? 0 : failed + 1
      if (failures > 0 && failed >= failures) open(openMs)
    },
    release() {
      isOnTrial = false
    },
    waitMs: leftMs,
  }
}
