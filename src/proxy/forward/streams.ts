/**
 * Open WebSockets and event streams. A request is authenticated once, but a stream stays open: it is ended when its token expires or its
 * session is revoked. An answer that somebody waits for may go on for some time after its token has expired. The number of streams of each
 * principal is bounded.
 */

import type { Principal } from '../../identity/access/principal.ts'
import type { Revocations } from '../../identity/sessions/revocations.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { addressKey } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Authenticated } from '../routing/exchange.ts'

export type StreamKind = 'websocket' | 'sse'
/** Why a stream ended; the label of `streams_closed_total`. */
export type StreamEnd = 'client' | 'upstream' | 'refused' | 'idle' | 'expired' | 'revoked' | 'stopping'

export interface Streams {
  /**
   * @param isAnswer its client waits for its end. Without it, a client that is cut off comes back by itself
   * @param end called at most once, when the stream must end
   * @returns a function to call when the stream has ended, with the reason
   * @throws streams_exceeded
   */
  open(kind: StreamKind, isAnswer: boolean, exchange: Authenticated, end: (reason: StreamEnd) => void): (reason: StreamEnd) => void
  /** For the stop of the gateway. Answers go on. */
  endAll(): void
  stop(): void
}

export interface StreamsDeps {
  revocations: Revocations
  clock: Clock
  metrics: Metrics
  /** Of one user, or of one address without a token. */
  maxOfOne: number
  rules: Config['streams']
}

interface Open {
  principal: Principal | null
  isAnswer: boolean
  end(reason: StreamEnd): void
}

const SWEEP_MS = 1000
/** Revocations come in bursts: one pass over all streams serves many of them. */
const REVOKED_SWEEP_MS = 50

export function createStreams({ revocations, clock, metrics, maxOfOne, rules }: StreamsDeps): Streams {
  const overrunMs = rules.onExpiry === 'finish' ? rules.maxOverrunSeconds * 1000 : 0
  const streams = new Set<Open>()
  const counts = new Map<string, number>()

  const isRevoked = ({ sessionId, id, epoch, signingKid }: Principal): boolean =>
    revocations.isRevoked(sessionId, id, epoch) || (signingKid !== null && revocations.isKeyRevoked(signingKid))

  function sweep(): void {
    for (const { principal, isAnswer, end } of streams) {
      if (!principal) continue
      if (isRevoked(principal)) end('revoked')
      else if (principal.expiresAt * 1000 + (isAnswer ? overrunMs : 0) <= clock.now()) end('expired')
    }
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
    open(kind, isAnswer, { principal, client }, end) {
      const holder = principal?.id ?? addressKey(client.address)
      const held = counts.get(holder) ?? 0
      if (held >= maxOfOne) throw problem('streams_exceeded', { cause: `${held} streams`, headers: { 'retry-after': '5' } })
      counts.set(holder, held + 1)
      metrics.streamsOpen.inc({ kind })
      let isEnding = false
      const stream: Open = {
        principal,
        isAnswer,
        end(reason) {
          if (isEnding) return
          isEnding = true
          end(reason)
        },
      }
      streams.add(stream)
      return (reason) => {
        if (!streams.delete(stream)) return
        const left = counts.get(holder)! - 1
        if (left > 0) counts.set(holder, left)
        else counts.delete(holder)
        metrics.streamsOpen.dec({ kind })
        metrics.streamsClosed.inc({ reason })
      }
    },
    endAll() {
      for (const { isAnswer, end } of streams) if (!isAnswer) end('stopping')
    },
    stop() {
      clearInterval(timer)
      clearTimeout(soon)
    },
  }
}
