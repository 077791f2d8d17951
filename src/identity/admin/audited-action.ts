/** What an operator does, however it ends: counted, and written down. */

import type { Audit, AuditContext, AuditEvent } from '../../platform/audit/audit.ts'
import { type Db, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { Problem } from '../../platform/lib/errors.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'

export interface Actor {
  /** For the audit row: `user:<id>`, `command line`. */
  actor: string
  context: AuditContext
  /** Of the request, when it was one: an admin who was demoted or logged out while it ran changes nothing. */
  principal?: Principal
}

export type Entry = Omit<AuditEvent, 'outcome' | 'context' | 'actor'>

export interface AuditedActions {
  /** Counts how an act ends, and writes down a refusal: the transaction that would have told of a success is no more. */
  act<T>(entry: Entry, by: Actor, work: () => Promise<T>): Promise<T>
  /** The row of the act itself, in its transaction. */
  write(trx: Transaction, entry: Entry, outcome: string, by: Actor): Promise<void>
}

export function createAuditedActions({ db, audit, metrics }: { db: Db; audit: Audit; metrics: Metrics }): AuditedActions {
  const write: AuditedActions['write'] = (trx, entry, outcome, { actor, context }) =>
    audit.record(trx, { ...entry, outcome, actor, context })

  return {
    write,
    act: (entry, by, work) =>
      countOutcome((outcome) => metrics.accountEvents.inc({ event: entry.event, outcome }), work)().catch(async (error) => {
        if (error instanceof Problem && error.status < 500) await inTransaction(db, (trx) => write(trx, entry, error.code, by))
        throw error
      }),
  }
}
