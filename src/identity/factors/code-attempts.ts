/** Counts every code before it is checked, and writes an audit row for a wrong code. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
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
}

export interface CodeAttemptsDeps {
  accounts: Accounts
  limits: CredentialLimits
  metrics: Metrics
}

export const wrongCode = (): Problem => problem('invalid_code')

export function createCodeAttempts({ accounts, limits, metrics }: CodeAttemptsDeps): CodeAttempts {
  return {
    async count({ user, known, event, context }, work) {
      try {
        const done = await limits.mfa(user, known, work)
        metrics.mfa.inc({ type: done.shown.type, outcome: 'success' })
        return done
      } catch (error) {
        metrics.mfa.inc({ type: 'any', outcome: error instanceof Problem ? error.code : 'internal' })
        if (error instanceof Problem && error.code === 'invalid_code')
          await accounts.record(event, { outcome: error.code, userId: user.id }, context)
        throw error
      }
    },
  }
}
