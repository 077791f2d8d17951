/** When a certificate is renewed, and when a failed order is tried again. */
import { createHash } from 'node:crypto'

const DAY_MS = 86_400_000
/** A certificate that lives shorter has little time for a failure. */
const SHORT_MS = 10 * DAY_MS
const JITTER = 0.02

export interface Validity {
  notBefore: Date
  notAfter: Date
}

/**
 * When two thirds of the lifetime have passed; of a lifetime below 10 days, one half. Up to 2 % earlier, so that gateways that started
 * together do not all ask at the same time.
 * @param renewBeforeDays before the end, in place of this; never in the first half of the lifetime
 * @param seed the same for each call about one certificate @returns milliseconds since the epoch
 */
export function renewAt({ notBefore, notAfter }: Validity, renewBeforeDays: number | undefined, seed: string): number {
  const lifetimeMs = notAfter.getTime() - notBefore.getTime()
  const halfMs = lifetimeMs / 2
  const leftMs = renewBeforeDays !== undefined ? renewBeforeDays * DAY_MS : lifetimeMs < SHORT_MS ? halfMs : lifetimeMs / 3
  const earlierMs = lifetimeMs * JITTER * (createHash('sha256').update(seed).digest().readUInt16BE() / 65_536)
  return notAfter.getTime() - Math.min(leftMs, halfMs) - earlierMs
}

export type Outcome = 'issued' | 'refused' | 'rate_limited' | 'unreachable' | 'unusable' | 'failed'

const MINUTE_MS = 60_000
/** An ACME server counts refused orders: Let's Encrypt takes five failed proofs of a name an hour. */
const REFUSED = { firstMs: 2 * MINUTE_MS, factor: 3, longestMs: 6 * 60 * MINUTE_MS }
/** It counts nothing that does not reach it. */
const UNREACHABLE = { firstMs: MINUTE_MS, factor: 2, longestMs: 15 * MINUTE_MS }
const LONGEST_RETRY_AFTER_MS = 7 * DAY_MS

/**
 * How long to wait after a failed order.
 * @param failures in a row, this one among them @param retryAfterMs what the server asks for; 0: nothing @param random from 0 to 1
 */
export function retryAfter(outcome: Outcome, failures: number, retryAfterMs: number, random: number): number {
  const { firstMs, factor, longestMs } = outcome === 'unreachable' ? UNREACHABLE : REFUSED
  const waitMs = Math.min(longestMs, firstMs * factor ** Math.min(failures - 1, 20))
  return Math.max(waitMs * (0.8 + 0.4 * random), Math.min(retryAfterMs, LONGEST_RETRY_AFTER_MS))
}
