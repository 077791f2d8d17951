/** Limits of the endpoints that take a credential. Exact, and counted in Postgres while Redis is away. */
import type { Config } from '../config/schema.ts'
import { problem } from '../errors.ts'
import { addressKey, type ClientOrigin } from '../http/networks.ts'
import { type Decision, type Limit, type Limiter, limitHeaders } from '../limits/limiter.ts'
import type { Secrets } from '../tokens/secrets.ts'

export interface CredentialLimits {
  /** @throws 429 */
  register(origin: ClientOrigin): Promise<void>
  /**
   * Counts an attempt for the address and account, and a failure for the account before the password is looked at, so that parallel guesses
   * count too. Call `succeeded` to take the failure back. @throws 429
   * @param account a user's id; for an unknown one what was typed, which counts alike
   */
  login(origin: ClientOrigin, account: { id: string } | { unknown: string }): Promise<{ succeeded(): Promise<void> }>
  /** @throws 429 once the address has failed too often */
  refresh(origin: ClientOrigin): Promise<{ failed(): Promise<void> }>
}

const DATABASE = { kind: 'database' } as const

export function createCredentialLimits(limiter: Limiter, secrets: Secrets, config: Config['limits']['credentials']): CredentialLimits {
  const named = (name: keyof typeof config): Limit => ({ name, ...config[name] })
  const limits = { register: named('register'), login: named('login'), account: named('account'), refresh: named('refresh') }

  async function consume(limit: Limit, key: string): Promise<Decision> {
    const decision = await limiter.consume(limit, key, DATABASE)
    demand(decision)
    return decision
  }

  return {
    async register(origin) {
      if (!origin.isExempt) await consume(limits.register, addressKey(origin.address))
    },
    async login(origin, account) {
      // what was typed may be a password in the wrong field: an HMAC of it, never itself
      const key = 'id' in account ? account.id : secrets.derive('unknown account', Buffer.from(account.unknown)).toString('base64url')
      // exemption is for addresses: an account's own budget holds for everybody
      if (!origin.isExempt) await consume(limits.login, `${addressKey(origin.address)}|${key}`)
      const { tier } = await consume(limits.account, key)
      // a refund that is lost costs one of many failures, and is no reason to fail a good login
      return { succeeded: () => limiter.refund(limits.account, key, tier).catch(() => undefined) }
    },
    async refresh(origin) {
      const key = addressKey(origin.address)
      if (origin.isExempt) return { failed: async () => {} }
      demand(await limiter.peek(limits.refresh, key, DATABASE))
      return { failed: async () => void (await limiter.consume(limits.refresh, key, DATABASE)) }
    },
  }
}

function demand(decision: Decision): void {
  if (!decision.isAllowed) throw problem('rate_limited', { cause: `policy ${decision.policy}`, headers: limitHeaders([decision]) })
}
