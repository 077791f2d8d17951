/**
 * Runs a change of the caller's own account under the step-up rule. The request itself may bring the fresh authentication: a code, or the
 * password of a user without a second factor.
 */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { PasswordCheck } from '../credentials/password-check.ts'
import { requireStepUp } from '../credentials/require-step-up.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { findUserById, type User } from '../users/users.repo.ts'
import { notifyOfBackupCode } from './backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from './code-attempts.ts'
import type { SecondFactor, Shown } from './second-factor.ts'

/** What the request itself shows. Everything that is sent is checked. */
export interface Proof {
  password?: string | undefined
  code?: string | undefined
}

/** The caller, locked by the transaction of the change. */
export interface Proven {
  user: User
  now: Date
  /** The code that this request used up. */
  shown: Shown | null
}

export interface ProvenChange {
  /** The caller's account as it was before the lock. */
  user: User
  /**
   * Runs `work` in an account transaction, and checks the rule again under the lock. A code is counted before it is compared, and is used
   * up only with the change.
   * @param context the context of the audit row, unless it is that of the request
   * @throws reauthentication_required, invalid_code, rate_limited, token_revoked, and the errors of `work`
   */
  commit<T>(event: string, work: (tx: AccountTransaction, proven: Proven) => Promise<T>, context?: AuditContext): Promise<T>
}

/** @throws reauthentication_required, invalid_credentials, rate_limited, mfa_not_enabled */
export type StepUp = (principal: Principal, proof: Proof, context: RequestContext) => Promise<ProvenChange>

export interface StepUpDeps {
  db: Db
  clock: Clock
  accounts: Accounts
  outbox: Outbox
  passwordCheck: PasswordCheck
  factor: SecondFactor
  codeAttempts: CodeAttempts
}

export function createStepUp({ db, clock, accounts, outbox, passwordCheck, factor, codeAttempts }: StepUpDeps): StepUp {
  function assertRule(principal: Principal, { password, code }: Proof, user: User): void {
    if (code !== undefined && !user.mfa_enabled) throw problem('mfa_not_enabled')
    if (code !== undefined || (password !== undefined && !user.mfa_enabled)) return
    requireStepUp(principal, user, clock.now())
  }

  return async (principal, proof, context) => {
    const { password, code } = proof
    const user = await findUserById(db, principal.id)
    if (!user) throw problem('token_revoked', { cause: 'the user was deleted' })
    // before the password is compared: a password that is not enough is no way to try passwords
    assertRule(principal, proof, user)
    const checked = password === undefined ? undefined : await passwordCheck(principal, password, context)

    return {
      user: checked ?? user,
      async commit(event, work, auditContext = context) {
        const run = () =>
          accounts.transaction(event, auditContext, async (tx) => {
            const { trx } = tx
            const locked = await tx.lockCaller(principal, checked?.password_hash)
            assertRule(principal, proof, locked)
            const now = await databaseNow(trx)
            const shown = code === undefined ? null : await factor.use(trx, locked.id, code, now)
            if (code !== undefined && !shown) throw wrongCode()
            await notifyOfBackupCode(trx, outbox, { user: locked, shown, now, context: auditContext })
            return { shown: shown!, done: await work(tx, { user: locked, now, shown }) }
          })
        if (code === undefined) return (await run()).done
        const known = { kind: 'session' as const, id: principal.sessionId }
        return (await codeAttempts.count({ user, known, event, context }, run)).done
      },
    }
  }
}
