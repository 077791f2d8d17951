/**
 * Counts every code before it is checked. Writes an audit row for a wrong code, and mails the owner about several: who enters codes has the
 * password or a session.
 */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow } from '../../platform/db/database.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { CredentialLimits, Known } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import type { User } from '../users/users.repo.ts'
import type { Shown } from './second-factor.ts'

export interface CodeAttempt {
  user: User
  known: Known | null
  /** The event of the audit row. */
  event: string
  context: AuditContext
}

export interface CodeAttempts {
  /** @throws rate_limited, and the errors of `work` */
  count<T extends { shown: Shown }>(attempt: CodeAttempt, work: () => Promise<T>): Promise<T>
  /** For a passkey, which nobody can guess: wrong codes of another person must not refuse it. */
  uncounted<T extends { shown: Shown }>(work: () => Promise<T>): Promise<T>
}

export interface CodeAttemptsDeps {
  accounts: Accounts
  limits: CredentialLimits
  outbox: Outbox
  metrics: Metrics
}

/** Fewer wrong codes are typing errors. */
const REPORTED_FROM = 3

export const wrongCode = (): Problem => problem('invalid_code')

export function createCodeAttempts({ accounts, limits, outbox, metrics }: CodeAttemptsDeps): CodeAttempts {
  async function recordWrong({ user, event, context }: CodeAttempt, inARow: number): Promise<void> {
    // before the factor is confirmed, no code protects the account
    const isReported = user.mfa_enabled && inARow >= REPORTED_FROM && (await limits.mayReportCodes(user.id))
    await accounts.transaction(event, context, async ({ trx, record }) => {
      await record({ outcome: 'invalid_code', userId: user.id })
      if (!isReported) return
      const data = { ...noticeContextOf(await databaseNow(trx), context), count: inARow }
      await outbox.post(trx, { template: 'wrong_codes', data, to: user.email, userId: user.id })
    })
  }

  async function measured<T extends { shown: Shown }>(work: () => Promise<T>): Promise<T> {
    try {
      const done = await work()
      metrics.mfa.inc({ type: done.shown.type, outcome: 'success' })
      return done
    } catch (error) {
      metrics.mfa.inc({ type: 'any', outcome: error instanceof Problem ? error.code : 'internal' })
      throw error
    }
  }

  return {
    count: (attempt, work) => measured(() => limits.mfa(attempt.user, attempt.known, work, (inARow) => recordWrong(attempt, inARow))),
    uncounted: measured,
  }
}
