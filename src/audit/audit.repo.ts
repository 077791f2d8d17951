import { uuidv7 } from 'uuidv7'
import type { Transaction } from '../db/database.ts'

/** Who asked, as far as it is known: goes into the audit row. */
export interface RequestOrigin {
  ip: string | null
  userAgent: string | null
  requestId: string | null
}

/** A caller on this machine's command line. */
export const COMMAND_LINE: RequestOrigin = { ip: null, userAgent: null, requestId: null }

export interface AuditEvent {
  event: string
  /** The word that the response, the log and the metric use. */
  outcome: string
  userId?: string | null
  sessionId?: string | null
  actor?: string | null
  origin: RequestOrigin
}

/** Written in the transaction of what it tells: both happen, or neither. */
export const insertAudit = (trx: Transaction, { event, outcome, userId = null, sessionId = null, actor = null, origin }: AuditEvent) =>
  trx
    .insertInto('audit_log')
    .values({ id: uuidv7(), event, outcome, user_id: userId, session_id: sessionId, actor, ip: origin.ip, request_id: origin.requestId })
    .execute()
