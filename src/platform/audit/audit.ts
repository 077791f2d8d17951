/** Writes the audit log: what happened to accounts, and who did it. */
import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import { databaseNow, type Transaction } from '../db/database.ts'
import type { Client } from '../request/client-address.ts'
import type { Secrets } from '../vault/secrets.ts'
import { deletePersonal, insertAuditRow } from './audit.repo.ts'
import { commitmentOf, ROW_MAC, textOf } from './row.ts'

/** The sender of the request, as far as known. It is stored beside the audit row, so that it can be erased. */
export interface AuditContext {
  ip: string | null
  userAgent: string | null
  requestId: string | null
  /** The language that the sender prefers, if it is one of the configuration. For mails; the audit log does not hold it. */
  language?: string | null
  /** The HTTP client. Undefined for a command. The audit log does not hold it. */
  client?: Client
}

/** For a command on this machine, or for the gateway itself. */
export const COMMAND_LINE: AuditContext = { ip: null, userAgent: null, requestId: null }

export interface AuditEvent {
  /** `login`, `role_grant` …: an action on the account. */
  event: string
  /** `success`, or an error code: the same word as in the response, the log and the metric. */
  outcome: string
  /** The user whose account the event concerns. */
  userId?: string | null
  sessionId?: string | null
  /** Who did it, when it was not that user: `user:<id>`, `command line`, `environment`. */
  actor?: string | null
  /** A few more words, without personal data: a role, a key's name. */
  detail?: string | null
  context: AuditContext
}

export interface Audit {
  /** Writes the row in the transaction of the action: both happen, or neither. */
  record(trx: Transaction, event: AuditEvent): Promise<void>
  /** Removes addresses and devices from the actions of this user, and records the erasure. The sealed rows stay intact. Call it last. */
  erase(trx: Transaction, userId: string): Promise<void>
}

const MAX_TEXT = 512
/** Without NUL and lone surrogates: the MAC covers the text as Postgres returns it. */
const storable = (text: string | null): string | null => text?.slice(0, MAX_TEXT).toWellFormed().replaceAll('\0', '\ufffd') ?? null

export function createAudit({ secrets }: { secrets: Secrets }): Audit {
  async function record(
    trx: Transaction,
    { event, outcome, userId = null, sessionId = null, actor = null, detail = null, context }: AuditEvent,
  ): Promise<void> {
    const { ip, userAgent, requestId } = context
    const isPersonal = ip !== null || userAgent !== null
    const personal = isPersonal ? { salt: randomBytes(32).toString('hex'), ip, user_agent: storable(userAgent) } : null
    const facts = {
      id: uuidv7(),
      at: await databaseNow(trx),
      event,
      outcome,
      user_id: userId,
      session_id: sessionId,
      actor: storable(actor),
      detail: storable(detail),
      request_id: requestId,
      personal: personal && commitmentOf(personal),
    }
    await insertAuditRow(trx, { ...facts, mac: secrets.mac(ROW_MAC, textOf(facts)), batch: null }, personal)
  }

  return {
    record,
    async erase(trx, userId) {
      await deletePersonal(trx, userId)
      await record(trx, { event: 'audit_erase', outcome: 'success', userId, context: COMMAND_LINE })
    },
  }
}
