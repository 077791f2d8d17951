/** An action of an operator. Its outcome is counted, and a refusal gets an audit row. */

import type { AuditContext, AuditEvent } from '../../platform/audit/audit.ts'
import { Problem } from '../../platform/lib/errors.ts'
import type { Principal } from '../access/principal.ts'
import type { Accounts } from '../sessions/account-transaction.ts'

export interface Actor {
  /** For the audit row: `user:<id>`, `command line`. */
  actor: string
  context: AuditContext
  /** The caller of the request, if there is a request. The action is refused when the caller's session was revoked meanwhile. */
  principal?: Principal
}

/** The audit row of an action, without its outcome and its actor. */
export type Entry = Omit<AuditEvent, 'outcome' | 'context' | 'actor'>

/**
 * Runs an action. The transaction of `work` writes the row of a success. A refusal rolls it back, so its row has a transaction of its own.
 */
export type AuditedAction = <T>(entry: Entry, by: Actor, work: () => Promise<T>) => Promise<T>

export function createAuditedAction(accounts: Accounts): AuditedAction {
  return async (entry, { actor, context }, work) => {
    try {
      return await accounts.counted(entry.event, work)()
    } catch (error) {
      if (error instanceof Problem && error.status < 500)
        await accounts.record(entry.event, { ...entry, outcome: error.code, actor }, context)
      throw error
    }
  }
}
