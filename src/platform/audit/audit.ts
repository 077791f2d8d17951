/** What happened to accounts, for whoever has to answer for it. */
import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import { databaseNow, type Transaction } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import { deletePersonal, insertAuditRow } from './audit.repo.ts'
import { commitmentOf, ROW_MAC, textOf } from './row.ts'

/** Who asked, as far as it is known: kept beside the audit row, where it can be erased. */
export interface AuditContext {
  ip: string | null
  userAgent: string | null
  requestId: string | null
}

/** A caller on this machine's command line, or the gateway itself. */
export const COMMAND_LINE: AuditContext = { ip: null, userAgent: null, requestId: null }

export interface AuditEvent {
  /** `login`, `role_grant` …: a verb of the account's life. */
  event: string
  /** The word that the response, the log and the metric use: `success`, or an error code. */
  outcome: string
  /** Whose account it is about. */
  userId?: string | null
  sessionId?: string | null
  /** Who did it, when not that user: `user:<id>`, `command line`, `environment`. */
  actor?: string | null
  /** What about it, in a few words without personal data: a role, a key's name. */
  detail?: string | null
  context: AuditContext
}

export interface Audit {
  /** Written in the transaction of what it tells: both happen, or neither. */
  record(trx: Transaction, event: AuditEvent): Promise<void>
  /** Removes addresses and devices from what this user did, and tells that it was done. The sealed rows stay whole. Call it last. */
  erase(trx: Transaction, userId: string): Promise<void>
}

const MAX_TEXT = 512
/** As Postgres will give it back: no NUL, no half of a character. */
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
