/**
 * Limits of the endpoints that take a credential. They are exact, and counted in Postgres while Redis is away.
 *
 * Attempts at an account are counted for the address and account, for the account over all addresses, and for the address over all
 * accounts. A known device has its own budget, so that strangers cannot use it up.
 */

import type { Config } from '../../platform/config/schema.ts'
import type { LinkTable } from '../../platform/db/tables.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type ErrorCode, Problem, problem } from '../../platform/lib/errors.ts'
import { createFailureBudget } from '../../platform/limits/failure-budget.ts'
import { type Decision, type Limit, type Limiter, limitHeaders, timesLimit } from '../../platform/limits/limiter.ts'
import { type Client, networksOf } from '../../platform/request/client-address.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { canonicalEmail } from '../users/canonical-login.ts'

/** A user who enters a code. A guesser of codes has the password, so a new password begins new counts. */
export interface CodeOwner {
  id: string
  unlocks: number
  password_hash: string
}

/** The account of an attempt: a user, or the typed name of an unknown user. Both count alike. */
export type Account = { id: string; unlocks: number } | { unknown: string }

/**
 * Has a budget of its own: a device or a network after an earlier login, the session of a user who enters the password again, or the mailbox
 * of a valid link.
 */
export interface Known {
  kind: 'device' | 'network' | 'session' | 'mailbox'
  id: string
}

/** The purpose of a mailed link. */
export type LinkPurpose = LinkTable['purpose']

/** What a mail is requested for. */
export type MailPurpose = LinkPurpose | 'email_login'

export interface CredentialLimits {
  /** Counts a registration or a new username, before `work` looks names up. A name that is taken counts as `taken` does. @throws 429 */
  register<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** Counts answers that a name is taken, because they show who has an account. @throws 429 */
  taken<T>(client: Client, work: () => Promise<T>): Promise<T>
  /**
   * Counts a failure before `work` runs, so that parallel attempts count too. Takes it back unless the credential was wrong. @throws 429
   */
  login<T>(client: Client, account: Account, known: Known | null, work: () => Promise<T>): Promise<T>
  /**
   * The same for a code of a second factor. After a hundred wrong codes in a row (NIST SP 800-63B §3.2.2) one code a day is checked.
   * @param onWrong gets the number of wrong codes in a row. @throws 429
   */
  mfa<T>(owner: CodeOwner, known: Known | null, work: () => Promise<T>, onWrong: (inARow: number) => Promise<void>): Promise<T>
  /** Counts a mail about wrong codes. @returns false when the user was mailed a short time ago: each wait is longer than the one before */
  mayReportCodes(userId: string): Promise<boolean>
  /** Counts refused refresh tokens by address. A valid token is never refused for the others: see `failure-budget.ts`. @throws 429 */
  refresh<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** Counts requests for mailed links. @throws 429 */
  recovery(client: Client): Promise<void>
  /** Counts uses of invalid links, in the same budget. A valid link costs nothing. @throws 429 */
  link<T>(client: Client, work: () => Promise<T>): Promise<T>
  /**
   * Counts a requested mail by recipient and purpose. Separate counts per purpose ensure that a stranger who registers with an address does
   * not keep its owner from a password reset. Requests by the owner, with a session or from a known device, have a count of their own.
   * @returns false above the limit. The mail is then not sent, and the answer does not show it
   */
  mail(address: string, purpose: MailPurpose, by: 'owner' | 'stranger'): Promise<boolean>
  /** Counts logins by mail that are begun. @throws 429 */
  startEmailLogin(client: Client): Promise<void>
  /** Counts codes and links of these logins that are refused, in the same budget. @throws 429 */
  emailLogin<T>(client: Client, work: () => Promise<T>): Promise<T>
  /**
   * Counts a mailed code as wrong before `work` compares it, and takes it back unless it was wrong. A flow has five, and an account has twenty
   * a day over all flows and addresses. Both are counted in the database, and alike for an account that does not exist.
   * @param work gets false when the account has had its twenty: then every code is wrong. @throws flow_invalid after the five of the flow
   */
  mailedCode<T>(flow: Buffer, account: Account, work: (isChecked: boolean) => Promise<T>): Promise<T>
  /** Counts sign-ins with a provider that are begun. @throws 429 */
  startProvider(client: Client): Promise<void>
  /** Counts answers of providers that are refused, in the same budget. @throws 429 */
  provider<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** Counts passkeys that are refused. A valid passkey is never refused for the others: see `failure-budget.ts`. @throws 429 */
  passkey<T>(client: Client, work: () => Promise<T>): Promise<T>
  /** The same for refused credentials of machine clients. @throws 429 */
  client<T>(client: Client, work: () => Promise<T>): Promise<T>
}

type Counted = [limit: Limit, key: string]

const DATABASE = { kind: 'database' } as const
const DAY_SECONDS = 86_400
const YEAR_SECONDS = 365 * DAY_SECONDS
const MAX_CODES_OF_FLOW = 5
/** Longer than a flow lives. */
const FLOW_SECONDS = 1200
const MAX_MAILED_CODES = 20
/** NIST SP 800-63B §3.2.2. */
const MAX_CODES_IN_A_ROW = 100
const WRONG: readonly ErrorCode[] = ['invalid_credentials']
const TAKEN: readonly ErrorCode[] = ['username_taken', 'email_taken']
const WRONG_CODE: readonly ErrorCode[] = ['invalid_code']
const REFUSED_EMAIL_LOGIN: readonly ErrorCode[] = ['flow_invalid', 'invalid_code', 'link_invalid']
const REFUSED_PASSKEY: readonly ErrorCode[] = ['passkey_refused']
const REFUSED_ANSWER: readonly ErrorCode[] = ['flow_invalid', 'provider_refused', 'logout_token_invalid']

export interface CredentialLimitsDeps {
  limiter: Limiter
  clock: Clock
  secrets: Secrets
}

export function createCredentialLimits(deps: CredentialLimitsDeps, config: Config['limits']['credentials']): CredentialLimits {
  const { limiter, secrets } = deps
  const named = (name: keyof typeof config): Limit => ({ name, scope: 'credential', ...config[name] })
  /** For failures, which are known only after the work: counted before, and refunded. */
  const failuresOf = (name: keyof typeof config, more: Partial<Limit> = {}): Limit => ({ ...named(name), isRefundable: true, ...more })
  /** Allows twice as many in ten times the window, and four times as many in sixty times. A client that goes on failing waits longer each time. */
  const growing = (name: 'login' | 'mfa', allowed: readonly number[], more: Partial<Limit> = {}): Limit[] => {
    const windows = [10, 60].map((longer) => Math.min(config[name].windowSeconds * longer, DAY_SECONDS))
    return windows
      .map((windowSeconds, i) =>
        failuresOf(name, { ...more, name: `${more.name ?? name}${windowSeconds}`, limit: allowed[i]!, windowSeconds }),
      )
      .filter(({ windowSeconds }, i) => windows.indexOf(windowSeconds) === i)
  }
  const durable = { isDurable: true } as const
  const times = (name: 'login' | 'mfa') => [config[name].limit * 2, config[name].limit * 4]
  const limits = {
    register: failuresOf('register'),
    taken: failuresOf('taken'),
    attempts: named('login'),
    waits: growing('login', times('login')),
    address: failuresOf('address'),
    account: failuresOf('account'),
    mfa: [failuresOf('mfa', durable), ...growing('mfa', times('mfa'), durable)],
    codesInARow: { ...failuresOf('mfa', { name: 'mfaInARow', limit: MAX_CODES_IN_A_ROW, windowSeconds: YEAR_SECONDS }), ...durable },
    slowCodes: failuresOf('mfa', { ...durable, name: 'mfaSlow', limit: 1, windowSeconds: DAY_SECONDS }),
    codeReports: growing('mfa', [1, 2], { ...durable, name: 'mfaReport' }),
    recovery: failuresOf('recovery'),
    provider: failuresOf('provider'),
    emailLogin: failuresOf('emailLogin'),
    codesOfFlow: failuresOf('emailLogin', { ...durable, name: 'codesOfFlow', limit: MAX_CODES_OF_FLOW, windowSeconds: FLOW_SECONDS }),
    mailedCodes: failuresOf('emailLogin', { ...durable, name: 'mailedCodes', limit: MAX_MAILED_CODES, windowSeconds: DAY_SECONDS }),
    mail: named('mail'),
  }

  /** For secrets of 256 random bits. */
  const budgetOf = (name: keyof typeof config, failures: readonly ErrorCode[]) =>
    createFailureBudget(deps, { limit: named(name), failures, fallback: DATABASE })
  const refreshBudget = budgetOf('refresh', ['refresh_invalid', 'refresh_expired', 'refresh_superseded', 'refresh_reused'])
  const clientBudget = budgetOf('client', ['invalid_client'])
  const passkeyBudget = budgetOf('passkey', REFUSED_PASSKEY)

  const consume = ([limit, key]: Counted) => limiter.consume(limit, key, DATABASE)

  /** The counts of a client's networks. @param more is added to each key */
  const ofNetworks = (limit: Limit, { limitKey, isExempt }: Client, more = ''): Counted[] =>
    isExempt ? [] : networksOf(limitKey).map(({ key, times }) => [timesLimit(limit, times), key + more])

  /** Counts attempts, good or not, from the smallest network to the largest: a refused attempt counts in no larger network. */
  async function countAttempt(counted: Counted[]): Promise<void> {
    for (const one of counted) assertAllowed([await consume(one)])
  }

  /** Consumes every limit, even when one of them refuses: the answer shows the longest wait. Refunds all unless `isCounted` holds. */
  async function counting<T>(
    counted: Counted[],
    isCounted: (error: unknown) => boolean,
    work: (decisions: readonly Decision[]) => Promise<T>,
    check = assertAllowed,
  ): Promise<T> {
    const decisions = await Promise.all(counted.map(consume))
    // a lost refund costs one of many allowed failures, and must not fail a valid login
    const refund = () => Promise.all(counted.map(([limit, key], i) => limiter.refund(limit, key, decisions[i]!).catch(() => undefined)))
    try {
      check(decisions)
      const answer = await work(decisions)
      if (!isCounted(null)) await refund()
      return answer
    } catch (error) {
      if (!isCounted(error)) await refund()
      throw error
    }
  }

  /** A full queue or a lost database does not show that the credential is wrong. */
  const countingFailure = <T>(counted: Counted[], failures: readonly ErrorCode[], work: () => Promise<T>): Promise<T> =>
    counting(counted, isOneOf(failures), work)

  /** The typed name may be a password in the wrong field, so only its HMAC is stored. */
  const hidden = (purpose: string, typed: string) => secrets.derive(purpose, Buffer.from(typed)).toString('base64url')
  const keyOf = (account: Account): string =>
    'id' in account ? `${account.id}.${account.unlocks}` : hidden('unknown account', account.unknown)

  return {
    register(client, work) {
      const isRegistration = (error: unknown) => error === null || (error instanceof Problem && error.code === 'validation_failed')
      return countingFailure(ofNetworks(limits.taken, client), TAKEN, () =>
        counting(ofNetworks(limits.register, client), isRegistration, work),
      )
    },
    taken: (client, work) => countingFailure(ofNetworks(limits.taken, client), TAKEN, work),
    async login(client, account, known, work) {
      const key = keyOf(account)
      const ofPlace = (limit: Limit): Counted[] => {
        if (client.isExempt) return []
        if (!known) return ofNetworks(limit, client, `|${key}`)
        // an address is more specific than its network
        return [[limit, `${known.kind === 'network' ? client.limitKey : known.id}|${key}`]]
      }
      // the exemption concerns addresses: the budget of an account holds for every client
      await countAttempt(ofPlace(limits.attempts))
      const ofAccount: Counted = [limits.account, known ? `${known.id}|${key}` : key]
      // the address goes first: an address above its limit creates no more counters for invented names
      return countingFailure(known ? [] : ofNetworks(limits.address, client), WRONG, () =>
        countingFailure([...limits.waits.flatMap(ofPlace), ofAccount], WRONG, work),
      )
    },
    async mfa(owner, known, work, onWrong) {
      // hidden: a row of wrong codes is kept for long, and a known network is an address
      const key = hidden('code owner', [known?.id, owner.id, owner.unlocks, owner.password_hash].join('|'))
      const row = await consume([limits.codesInARow, key])
      const counted = [...limits.mfa, ...(row.isAllowed ? [] : [limits.slowCodes])].map((limit): Counted => [limit, key])
      try {
        const answer = await countingFailure(counted, WRONG_CODE, work)
        // a lost reset must not fail a valid login
        await limiter.clear(limits.codesInARow, key).catch(() => undefined)
        return answer
      } catch (error) {
        if (error instanceof Problem && WRONG_CODE.includes(error.code)) await onWrong(row.used)
        else await limiter.refund(limits.codesInARow, key, row).catch(() => undefined)
        throw error
      }
    },
    async mayReportCodes(userId) {
      for (const limit of limits.codeReports) if (!(await consume([limit, userId])).isAllowed) return false
      return true
    },
    refresh: refreshBudget.check,
    client: clientBudget.check,
    recovery: (client) => countAttempt(ofNetworks(limits.recovery, client)),
    startProvider: (client) => countAttempt(ofNetworks(limits.provider, client)),
    provider: (client, work) => countingFailure(ofNetworks(limits.provider, client), REFUSED_ANSWER, work),
    passkey: passkeyBudget.check,
    startEmailLogin: (client) => countAttempt(ofNetworks(limits.emailLogin, client)),
    emailLogin: (client, work) => countingFailure(ofNetworks(limits.emailLogin, client), REFUSED_EMAIL_LOGIN, work),
    mailedCode(flow, account, work) {
      const counted: Counted[] = [
        [limits.codesOfFlow, flow.toString('base64url')],
        [limits.mailedCodes, keyOf(account)],
      ]
      const check = ([ofFlow]: Decision[]) => {
        if (!ofFlow!.isAllowed) throw problem('flow_invalid', { cause: 'five codes of this flow were wrong' })
      }
      return counting(counted, isOneOf(WRONG_CODE), ([, ofAccount]) => work(ofAccount!.isAllowed), check)
    },
    link: (client, work) => countingFailure(ofNetworks(limits.recovery, client), ['link_invalid', 'invitation_invalid'], work),
    async mail(address, purpose, by) {
      return (await consume([limits.mail, hidden(`mail recipient ${purpose} ${by}`, canonicalEmail(address))])).isAllowed
    },
  }
}

const isOneOf =
  (failures: readonly ErrorCode[]) =>
  (error: unknown): boolean =>
    error instanceof Problem && failures.includes(error.code)

function assertAllowed(decisions: Decision[]): void {
  const refused = decisions.filter(({ isAllowed }) => !isAllowed)
  if (!refused.length) return
  const names = refused.map(({ policy }) => policy).join(', ')
  throw problem('rate_limited', { cause: `policy ${names}`, headers: limitHeaders(refused) })
}
