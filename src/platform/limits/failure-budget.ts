/**
 * Limits failures of credentials that nobody can guess: signatures, and secrets of 256 random bits. The limit saves work, so a valid
 * credential must never pay for invalid ones from its address. Once the failures of an address have used up the budget, its credentials are
 * checked at a slower pace.
 */
import type { Clock } from '../lib/clock.ts'
import { type ErrorCode, Problem, problem } from '../lib/errors.ts'
import { type Client, networksOf } from '../request/client-address.ts'
import { createKeyTable } from './key-table.ts'
import { type CountedDecision, type Fallback, type Limit, type Limiter, limitHeaders, timesLimit } from './limiter.ts'

export interface FailureBudget {
  /** Counts a failure before `work` runs, and takes it back unless `work` fails with one of the codes. @throws rate_limited */
  check<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** Counts a credential that is refused by its form alone. @throws `refusal`, or rate_limited once the budget is used up */
  refuse(client: Client, refusal: Problem): Promise<never>
}

export interface FailureBudgetOptions {
  limit: Limit
  /** Errors that show an invalid credential. */
  failures: readonly ErrorCode[]
  fallback: Fallback
}

/** Checks per second in each process, for an address whose budget is used up. */
const CHECKS_PER_SECOND = 50

/** The slower pace of one network: a bucket of checks that fills with time. Times in milliseconds. */
interface Pace {
  perSecond: number
  left: number
  filledAt: number
  running: number
  waiting: (() => void)[]
}

export function createFailureBudget(
  { limiter, clock }: { limiter: Limiter; clock: Clock },
  { limit, failures, fallback }: FailureBudgetOptions,
): FailureBudget {
  const paceTables = new Map<number, (key: string) => Pace>()

  function paceOf(key: string, times: number): Pace {
    let table = paceTables.get(times)
    if (!table) {
      const perSecond = CHECKS_PER_SECOND * times
      table = createKeyTable<Pace>({
        make: () => ({ perSecond, left: perSecond, filledAt: clock.steady(), running: 0, waiting: [] }),
        isOver: (pace) => pace.running === 0 && clock.steady() - pace.filledAt >= 1000,
      })
      paceTables.set(times, table)
    }
    return table(key)
  }

  function fill(pace: Pace): void {
    const now = clock.steady()
    pace.left = Math.min(pace.perSecond, pace.left + ((now - pace.filledAt) / 1000) * pace.perSecond)
    pace.filledAt = now
  }

  /** Takes one check of each pace. While none is left, waits for checks that run, because a valid credential gives its check back. */
  async function take(paces: readonly Pace[], refused: readonly CountedDecision[]): Promise<void> {
    let waitedFor: Pace | undefined
    for (;;) {
      paces.forEach(fill)
      const empty = paces.find(({ left }) => left < 1)
      if (waitedFor && waitedFor !== empty) wake(waitedFor)
      if (!empty) break
      if (empty.running === 0) {
        wake(empty)
        throw tooMany(refused, 1)
      }
      waitedFor = empty
      await new Promise<void>((resolve) => empty.waiting.push(resolve))
    }
    for (const pace of paces) {
      pace.left--
      pace.running++
      if (pace.left >= 1) wake(pace)
    }
  }

  function end(paces: readonly Pace[], isFailure: boolean): void {
    for (const pace of paces) {
      pace.running--
      if (!isFailure) pace.left = Math.min(pace.perSecond, pace.left + 1)
      wake(pace)
    }
  }

  const wake = ({ waiting }: Pace): void => waiting.shift()?.()

  async function count(client: Client) {
    const networks = networksOf(client.limitKey).map(({ key, times }) => ({ limit: timesLimit(limit, times), key, times }))
    const decisions = await Promise.all(networks.map(({ limit, key }) => limiter.consume(limit, key, fallback)))
    const counted = networks.map((network, i) => ({ ...network, decision: decisions[i]! }))
    const allowed = counted.filter(({ decision }) => decision.isAllowed)
    const spent = counted.filter(({ decision }) => !decision.isAllowed)
    return {
      refused: spent.map(({ decision }) => decision),
      paces: spent.map(({ key, times }) => paceOf(key, times)),
      // counts above the limit are not taken back: until the window ends they change nothing. A lost refund costs one of many failures
      refund: () => Promise.all(allowed.map(({ limit, key, decision }) => limiter.refund(limit, key, decision).catch(() => undefined))),
    }
  }

  return {
    async check(client, work) {
      if (client.isExempt) return work()
      const { refused, paces, refund } = await count(client)
      if (paces.length > 0) {
        await take(paces, refused).catch(async (error) => {
          await refund()
          throw error
        })
      }
      let isFailure = false
      try {
        return await work()
      } catch (error) {
        isFailure = error instanceof Problem && failures.includes(error.code)
        throw error
      } finally {
        end(paces, isFailure)
        if (!isFailure) void refund()
      }
    },

    async refuse(client, refusal) {
      if (client.isExempt) throw refusal
      const { refused, refund } = await count(client)
      if (refused.length === 0) throw refusal
      await refund()
      throw tooMany(refused)
    },
  }
}

/** @param retryAfterSeconds default: when the window ends */
function tooMany(decisions: readonly CountedDecision[], retryAfterSeconds?: number): Problem {
  const headers = limitHeaders(decisions)
  if (retryAfterSeconds !== undefined) headers['retry-after'] = String(retryAfterSeconds)
  return problem('rate_limited', { cause: `policy ${decisions[0]!.policy}: too many invalid credentials`, headers })
}
