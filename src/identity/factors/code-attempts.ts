/** Every code that is shown is counted before it is looked at; a wrong one is written down. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, inTransaction } from '../../platform/db/database.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { CredentialLimits, Known } from '../credentials/credential-limits.ts'
import type { User } from '../users/users.repo.ts'
import type { Shown } from './second-factor.ts'

export interface CodeAttempt {
  user: User
  known: Known | null
  /** What it is shown for: the audit row's event. */
  event: string
  context: AuditContext
}

export interface CodeAttempts {
  /** @throws rate_limited, and what `work` throws */
  count<T extends { shown: Shown }>(guess: CodeAttempt, work: () => Promise<T>): Promise<T>
}

export const wrongCode = (): Problem => problem('invalid_code')

export function createCodeAttempts({
  db,
  audit,
  limits,
  metrics,
}: {
  db: Db
  audit: Audit
  limits: CredentialLimits
  metrics: Metrics
}): CodeAttempts {
  return {
    async count({ user, known, event, context }, work) {
      try {
        const done = await limits.mfa(user, known, work)
        metrics.mfa.inc({ type: done.shown.type, outcome: 'success' })
        return done
      } catch (error) {
        metrics.mfa.inc({ type: 'any', outcome: error instanceof Problem ? error.code : 'internal' })
        if (error instanceof Problem && error.code === 'invalid_code')
          await inTransaction(db, (trx) => audit.record(trx, { event, outcome: error.code, userId: user.id, context }))
        throw error
      }
    },
  }
}
