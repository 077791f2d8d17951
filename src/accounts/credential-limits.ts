/** Limits of the endpoints that take a credential. Exact, and counted in Postgres while Redis is away. */
import type { Config } from '../config/schema.ts'
import { type ErrorCode, Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import { type Decision, type Limit, type Limiter, limitHeaders } from '../limits/limiter.ts'
import type { Secrets } from '../tokens/secrets.ts'

export interface CredentialLimits {
  /** @throws 429 */
  register(origin: ClientOrigin): Promise<void>
  /**
   * Counts an attempt for the address and account, and runs `work` with a failure of the account counted in advance, so that parallel
   * guesses count too. Taken back unless the work ends in `invalid_credentials`. @throws 429
   * @param account a user's id; for an unknown one what was typed, which counts alike
   */
  login<T>(origin: ClientOrigin, account: { id: string } | { unknown: string }, work: () => Promise<T>): Promise<T>
  /** The same for the address; `refresh_superseded` is a client's own retry and no failure. @throws 429 */
  refresh<T>(origin: ClientOrigin, work: () => Promise<T>): Promise<T>
}

const DATABASE = { kind: 'database' } as const

export function createCredentialLimits(limiter: Limiter, secrets: Secrets, config: Config['limits']['credentials']): CredentialLimits {
  const named = (name: keyof typeof config, more: Partial<Limit> = {}): Limit => ({ name, scope: 'credential', ...config[name], ...more })
  const limits = {
    register: named('register'),
    login: named('login'),
    // failures, told only afterwards: counted before, and given back
    account: named('account', { isRefundable: true }),
    refresh: named('refresh', { isRefundable: true }),
  }

  async function consume(limit: Limit, key: string): Promise<void> {
    demand(await limiter.consume(limit, key, DATABASE))
  }

  async function countingFailure<T>(limit: Limit, key: string, failures: readonly ErrorCode[], work: () => Promise<T>): Promise<T> {
    const decision = await limiter.consume(limit, key, DATABASE)
    // a refund that is lost costs one of many failures, and is no reason to fail a good login
    const refund = () => limiter.refund(limit, key, decision.tier).catch(() => undefined)
    try {
      demand(decision)
      const answer = await work()
      await refund()
      return answer
    } catch (error) {
      // a full queue or a lost database says nothing about the credential
      if (!(error instanceof Problem && failures.includes(error.code))) await refund()
      throw error
    }
  }

  return {
    async register(origin) {
      if (!origin.isExempt) await consume(limits.register, origin.limitKey)
    },
    async login(origin, account, work) {
      // what was typed may be a password in the wrong field: an HMAC of it, never itself
      const key = 'id' in account ? account.id : secrets.derive('unknown account', Buffer.from(account.unknown)).toString('base64url')
      // exemption is for addresses: an account's own budget holds for everybody
      if (!origin.isExempt) await consume(limits.login, `${origin.limitKey}|${key}`)
      return countingFailure(limits.account, key, ['invalid_credentials'], work)
    },
    refresh(origin, work) {
      if (origin.isExempt) return work()
      return countingFailure(limits.refresh, origin.limitKey, ['refresh_invalid', 'refresh_expired', 'refresh_reused'], work)
    },
  }
}

function demand(decision: Decision): void {
  if (!decision.isAllowed) throw problem('rate_limited', { cause: `policy ${decision.policy}`, headers: limitHeaders([decision]) })
}
