/**
 * Every change of an account runs in an account transaction. It writes the audit row, revokes what the change ends, and announces the
 * revocations once they are committed. Nothing else can write or announce a revocation, so no service can forget the announcement.
 */
import type { Audit, AuditContext, AuditEvent } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { lockUser, type User } from '../users/users.repo.ts'
import { type Caller, lockCaller } from './lock-caller.ts'
import { insertRevocation, OPENED_HERE, type RevokingTransaction } from './revocations.repo.ts'
import type { Revocations } from './revocations.ts'
import { createRevoke, type Revoke } from './revoke-sessions.ts'
import { lockSession, type Session } from './sessions.repo.ts'

export interface AccountTransaction extends RevokingTransaction {
  /** Ends sessions and tokens. Every reachable gateway learns it after the commit, before the caller gets the answer. */
  readonly revoke: Revoke
  /** Writes an audit row in this transaction. The defaults are the event of the transaction and the outcome `success`. */
  record(row: AuditRow): Promise<void>
  /** Locks the user, then the session: the lock order of every transaction. */
  lockUserAndSession(userId: string, sessionId: string): Promise<{ user: User | undefined; session: Session | undefined }>
  /** See `lock-caller.ts`. @throws token_revoked, invalid_credentials */
  lockCaller(caller: Caller, checkedHash?: string): Promise<User>
}

export type AuditRow = Partial<Omit<AuditEvent, 'context'>>

export interface Accounts {
  /**
   * Runs `work` in one transaction. `work` runs again after a deadlock, so it must have no effect outside the transaction.
   * Announces its revocations after the commit. @returns once every reachable gateway has learned it
   */
  transaction<T>(event: string, context: AuditContext, work: (tx: AccountTransaction) => Promise<T>): Promise<T>
  /** Writes one audit row in a transaction of its own, such as the row of a refusal. */
  record(event: string, row: AuditRow & { outcome: string }, context: AuditContext): Promise<void>
  /** Makes `work` count how each call ends: `success`, or the code of its error. */
  counted<A extends unknown[], R>(
    event: string,
    work: (...args: A) => Promise<R>,
    outcomeOf?: (answer: R) => string,
  ): (...args: A) => Promise<R>
  /** Counts one outcome, where not every call is counted. */
  count(event: string, outcome: string): void
}

export interface AccountsDeps {
  db: Db
  audit: Audit
  revocations: Revocations
  metrics: Pick<Metrics, 'accountEvents' | 'logins' | 'registrations'>
  tokens: Config['tokens']
}

export function createAccounts({ db, audit, revocations, metrics, tokens }: AccountsDeps): Accounts {
  function open(trx: Transaction, event: string, context: AuditContext, unfinished: Set<unknown>): AccountTransaction {
    /** Remembers a promise until it is settled. */
    function watched<T>(work: Promise<T>): Promise<T> {
      unfinished.add(work)
      const settled = work.finally(() => unfinished.delete(work))
      // work that is not awaited fails the transaction below; its own rejection must not end the process as unhandled
      settled.catch(() => {})
      return settled
    }
    const tx: AccountTransaction = {
      [OPENED_HERE]: true,
      trx,
      revocations: [],
      revoke: createRevoke({
        trx,
        watched,
        write: (revocation) => insertRevocation(tx, revocation),
        isFull: () => revocations.isFull(),
        tokens,
      }),
      record: (row) => watched(audit.record(trx, { event, outcome: 'success', ...row, context })),
      async lockUserAndSession(userId, sessionId) {
        const user = await lockUser(trx, userId)
        return { user, session: await lockSession(trx, sessionId) }
      },
      lockCaller: (caller, checkedHash) => lockCaller(trx, caller, checkedHash),
    }
    return tx
  }

  async function transaction<T>(event: string, context: AuditContext, work: (tx: AccountTransaction) => Promise<T>): Promise<T> {
    const { answer, committed } = await inTransaction(db, async (trx) => {
      // new for each attempt, since the revocations of a failed attempt were rolled back
      const unfinished = new Set<unknown>()
      const tx = open(trx, event, context, unfinished)
      const answer = await work(tx)
      // a revocation that is not awaited would be announced too late, or never: the transaction must not commit
      if (unfinished.size > 0) throw new Error(`${event}: a revocation or an audit row was not awaited`)
      return { answer, committed: tx.revocations }
    })
    await Promise.all(committed.map((revocation) => revocations.announce(revocation)))
    return answer
  }

  function count(event: string, outcome: string, via: 'api' | 'page' = 'api'): void {
    if (event === 'login') metrics.logins.inc({ outcome, via })
    else if (event === 'register') metrics.registrations.inc({ outcome })
    else metrics.accountEvents.inc({ event, outcome })
  }

  return {
    transaction,
    record: (event, row, context) => transaction(event, context, (tx) => tx.record(row)),
    counted: (event, work, outcomeOf) => countOutcome((outcome, args) => count(event, outcome, viaOf(args)), work, outcomeOf),
    count,
  }
}

/** The last argument of a service is the context of its request, where it has one. */
const viaOf = (args: readonly unknown[]): 'api' | 'page' => (args.at(-1) as { via?: 'page' } | undefined)?.via ?? 'api'
