/** Counts the failed logins of an address, over all accounts: after some of them a login needs a proof of work. */
import { Problem } from '../../platform/lib/errors.ts'
import { type CountedDecision, type Limit, type Limiter, timesLimit } from '../../platform/limits/limiter.ts'
import { type Client, networksOf } from '../../platform/request/client-address.ts'

export interface LoginFailures {
  /** Whether the next login of this client comes after too many failures. Counts nothing. */
  areMany(client: Client): Promise<boolean>
  /**
   * Counts a failure before `work` runs, so that parallel logins count too. Takes it back unless the credentials were wrong.
   * @param work gets whether there were many failures before
   */
  counting<T>(client: Client, work: (areMany: boolean) => Promise<T>): Promise<T>
}

const WINDOW_SECONDS = 600
const DATABASE = { kind: 'database' } as const

/** @param most failures in 10 minutes that are not many; 0: a first login is one after many failures */
export function createLoginFailures(limiter: Limiter, most: number): LoginFailures {
  const limit: Limit = { name: 'proofOfWork', scope: 'credential', limit: most, windowSeconds: WINDOW_SECONDS, isRefundable: true }
  const countedOf = ({ limitKey }: Client) => networksOf(limitKey).map(({ key, times }) => [timesLimit(limit, times), key] as const)

  async function refund(client: Client, decisions: readonly CountedDecision[]): Promise<void> {
    const refunds = countedOf(client).map(([network, key], i) => limiter.refund(network, key, decisions[i]!))
    // a lost refund costs one of the failures, and must not fail a valid login
    await Promise.allSettled(refunds)
  }

  return {
    async areMany(client) {
      if (most === 0) return true
      const decisions = await Promise.all(countedOf(client).map(([network, key]) => limiter.peek(network, key, DATABASE)))
      return decisions.some(({ isAllowed }) => !isAllowed)
    },
    async counting(client, work) {
      if (most === 0) return work(true)
      const decisions = await Promise.all(countedOf(client).map(([network, key]) => limiter.consume(network, key, DATABASE)))
      try {
        const answer = await work(decisions.some(({ isAllowed }) => !isAllowed))
        await refund(client, decisions)
        return answer
      } catch (error) {
        if (!(error instanceof Problem && error.code === 'invalid_credentials')) await refund(client, decisions)
        throw error
      }
    },
  }
}
