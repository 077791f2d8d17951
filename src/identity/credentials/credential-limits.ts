/**
 * Limits of the endpoints that take a credential. Exact, and counted in Postgres while Redis is away.
 *
 * CodeAttempts at an account are counted for the address and account, for the account over all addresses, and for the address over all accounts.
 * A known device counts for itself: no stranger can use up what it has left.
 */

import type { Config } from '../../platform/config/schema.ts'
import type { LinkTable } from '../../platform/db/tables.ts'
import { type ErrorCode, Problem, problem } from '../../platform/lib/errors.ts'
import { type Decision, type Limit, type Limiter, limitHeaders } from '../../platform/limits/limiter.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { canonicalEmail } from '../users/canonical-login.ts'

/** Whose credential is shown: a user, or what was typed where nobody is called so, which counts alike. */
export type Account = { id: string; unlocks: number } | { unknown: string }

/** What was let in before and has a budget of its own: a device, a network, or the session of who shows the password again. */
export interface Known {
  kind: 'device' | 'network' | 'session'
  id: string
}

/** What a mailed link is for. */
export type LinkPurpose = LinkTable['purpose']

export interface CredentialLimits {
  /** @throws 429 */
  register(client: Client): Promise<void>
  /** Runs `work` with its failure counted in advance, so that parallel guesses count too; taken back unless it ends so. @throws 429 */
  login<T>(client: Client, account: Account, known: Known | null, work: () => Promise<T>): Promise<T>
  /** The same for a second factor. @throws 429 */
  mfa<T>(account: Account, known: Known | null, work: () => Promise<T>): Promise<T>
  /** The same for the address; `refresh_superseded` is a client's own retry and no failure. @throws 429 */
  refresh<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** For asking for, and for using, a mailed link. @throws 429 */
  recovery(client: Client): Promise<void>
  /**
   * Counts a mail that somebody asks for: those that prove an address for themselves, so that whoever gives the address of another away for
   * their own does not keep its owner from a new password. @returns false when this recipient has had enough of them: it is not sent, and
   * nobody is told
   */
  mail(address: string, purpose: LinkPurpose): Promise<boolean>
  /** Failures of machine clients, counted once they have failed: many good ones at a time are their daily work, and nobody guesses a secret. @throws 429 */
  client<T>(client: Client, work: () => Promise<T>): Promise<T>
}

type Counted = [limit: Limit, key: string]

const DATABASE = { kind: 'database' } as const
const DAY_SECONDS = 86_400
const WRONG: readonly ErrorCode[] = ['invalid_credentials']

export function createCredentialLimits(limiter: Limiter, secrets: Secrets, config: Config['limits']['credentials']): CredentialLimits {
  const named = (name: keyof typeof config): Limit => ({ name, scope: 'credential', ...config[name] })
  /** Failures, told only afterwards: counted before, and given back. */
  const failuresOf = (name: keyof typeof config, more: Partial<Limit> = {}): Limit => ({ ...named(name), isRefundable: true, ...more })
  /** Twice as many in ten times as long, and so on: who goes on failing waits longer each time. */
  const longer = (times: number, longer: number): Limit => {
    const { limit, windowSeconds } = config.login
    const window = Math.min(windowSeconds * longer, DAY_SECONDS)
    return failuresOf('login', { name: `login${window}`, limit: limit * times, windowSeconds: window })
  }
  const limits = {
    register: named('register'),
    attempts: named('login'),
    waits: [longer(2, 10), longer(4, 60)],
    address: failuresOf('address'),
    account: failuresOf('account'),
    mfa: failuresOf('mfa', { isDurable: true }),
    refresh: failuresOf('refresh'),
    client: named('client'),
    recovery: named('recovery'),
    mail: named('mail'),
  }

  const consume = ([limit, key]: Counted) => limiter.consume(limit, key, DATABASE)

  /** All are asked and counted, also when one refuses: the answer tells the longest wait. */
  async function countingFailure<T>(counted: Counted[], failures: readonly ErrorCode[], work: () => Promise<T>): Promise<T> {
    const decisions = await Promise.all(counted.map(consume))
    // a refund that is lost costs one of many failures, and is no reason to fail a good login
    const refund = () => Promise.all(counted.map(([limit, key], i) => limiter.refund(limit, key, decisions[i]!).catch(() => undefined)))
    try {
      assertAllowed(decisions)
      const answer = await work()
      await refund()
      return answer
    } catch (error) {
      // a full queue or a lost database says nothing about the credential
      if (!(error instanceof Problem && failures.includes(error.code))) await refund()
      throw error
    }
  }

  /** What was typed may be a password in the wrong field: an HMAC of it, never itself. */
  const hidden = (purpose: string, typed: string) => secrets.derive(purpose, Buffer.from(typed)).toString('base64url')
  const keyOf = (account: Account): string =>
    'id' in account ? `${account.id}.${account.unlocks}` : hidden('unknown account', account.unknown)

  return {
    async register(client) {
      if (!client.isExempt) assertAllowed([await consume([limits.register, client.limitKey])])
    },
    async login(client, account, known, work) {
      const key = keyOf(account)
      // an address is finer than its network
      const place = `${known && known.kind !== 'network' ? known.id : client.limitKey}|${key}`
      // exemption is for addresses: an account's own budget holds for everybody
      if (!client.isExempt) assertAllowed([await consume([limits.attempts, place])])
      const ofPlace = client.isExempt ? [] : limits.waits.map((limit): Counted => [limit, place])
      const ofAddress: Counted[] = client.isExempt || known ? [] : [[limits.address, client.limitKey]]
      const ofAccount: Counted = [limits.account, known ? `${known.id}|${key}` : key]
      // the address goes first: once it has had enough, no more names that it makes up are remembered
      return countingFailure(ofAddress, WRONG, () => countingFailure([...ofPlace, ofAccount], WRONG, work))
    },
    mfa(account, known, work) {
      const key = keyOf(account)
      return countingFailure([[limits.mfa, known ? `${known.id}|${key}` : key]], ['invalid_code'], work)
    },
    refresh(client, work) {
      if (client.isExempt) return work()
      return countingFailure([[limits.refresh, client.limitKey]], ['refresh_invalid', 'refresh_expired', 'refresh_reused'], work)
    },
    async client(client, work) {
      if (client.isExempt) return work()
      assertAllowed([await limiter.peek(limits.client, client.limitKey, DATABASE)])
      try {
        return await work()
      } catch (error) {
        if (error instanceof Problem && error.code === 'invalid_client') await consume([limits.client, client.limitKey])
        throw error
      }
    },
    async recovery(client) {
      if (!client.isExempt) assertAllowed([await consume([limits.recovery, client.limitKey])])
    },
    async mail(address, purpose) {
      return (await consume([limits.mail, hidden(`mail recipient ${purpose}`, canonicalEmail(address))])).isAllowed
    },
  }
}

function assertAllowed(decisions: Decision[]): void {
  const refused = decisions.filter(({ isAllowed }) => !isAllowed)
  if (!refused.length) return
  const names = refused.map(({ policy }) => policy).join(', ')
  throw problem('rate_limited', { cause: `policy ${names}`, headers: limitHeaders(refused) })
}
