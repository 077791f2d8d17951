/** Reads the audit log for administrators: in pages, newest first; or as an export, oldest first. */
import type { Db, ReadReplica } from '../db/database.ts'
import { invalidField } from '../lib/errors.ts'
import { isStorable } from '../lib/timestamps.ts'

export interface AuditFilter {
  userId?: string | undefined
  event?: string | undefined
  outcome?: string | undefined
  actor?: string | undefined
  /** Inclusive. */
  since?: Date | undefined
  /** Exclusive. */
  until?: Date | undefined
}

export interface AuditView {
  id: string
  at: string
  event: string
  outcome: string
  user_id: string | null
  session_id: string | null
  actor: string | null
  detail: string | null
  ip: string | null
  user_agent: string | null
  request_id: string | null
}

export interface AuditPage {
  events: AuditView[]
  /** For the next, older page; null on the last page. */
  nextCursor: string | null
}

interface Position {
  at: Date
  id: string
}

/** Newest first. @throws Problem `validation_failed` for a cursor that is not from a page */
export async function findAuditPage(db: Db, filter: AuditFilter & { cursor?: string | undefined; limit: number }): Promise<AuditPage> {
  const { cursor, limit } = filter
  let query = select(db, filter)
    .orderBy('l.at', 'desc')
    .orderBy('l.id', 'desc')
    .limit(limit + 1)
  if (cursor !== undefined) {
    const { at, id } = readCursor(cursor)
    query = query.where((e) => e(e.refTuple('l.at', 'l.id'), '<', e.tuple(at, id)))
  }
  const rows = await query.execute()
  const last = rows.length > limit ? rows[limit - 1]! : null
  return { events: rows.slice(0, limit).map(viewOf), nextCursor: last && cursorOf(last) }
}

const EXPORT_PAGE = 500

/** Oldest first. Each page is a query of its own, so that a slow reader keeps no transaction open. */
export async function* exportAudit(read: ReadReplica, filter: AuditFilter, pageSize = EXPORT_PAGE): AsyncGenerator<AuditView> {
  const page = (db: Db) => select(db, filter).orderBy('l.at').orderBy('l.id').limit(pageSize)
  let rows = await read((db) => page(db).execute())
  for (;;) {
    for (const row of rows) yield viewOf(row)
    const last = rows.at(-1)
    if (!last || rows.length < pageSize) return
    rows = await read((db) =>
      page(db)
        .where((e) => e(e.refTuple('l.at', 'l.id'), '>', e.tuple(last.at, last.id)))
        .execute(),
    )
  }
}

const select = (db: Db, { userId, event, outcome, actor, since, until }: AuditFilter) =>
  db
    .selectFrom('audit_log as l')
    .leftJoin('audit_personal as p', 'p.event_id', 'l.id')
    .select([
      'l.id',
      'l.at',
      'l.event',
      'l.outcome',
      'l.user_id',
      'l.session_id',
      'l.actor',
      'l.detail',
      'p.ip',
      'p.user_agent',
      'l.request_id',
    ])
    .$if(userId !== undefined, (q) => q.where('l.user_id', '=', userId!))
    .$if(event !== undefined, (q) => q.where('l.event', '=', event!))
    .$if(outcome !== undefined, (q) => q.where('l.outcome', '=', outcome!))
    .$if(actor !== undefined, (q) => q.where('l.actor', '=', actor!))
    .$if(since !== undefined, (q) => q.where('l.at', '>=', since!))
    .$if(until !== undefined, (q) => q.where('l.at', '<', until!))

const viewOf = (row: Omit<AuditView, 'at'> & { at: Date }): AuditView => ({ ...row, at: row.at.toISOString() })

const CURSOR = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([0-9a-f-]{36})$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const cursorOf = ({ at, id }: Position): string => Buffer.from(`${at.toISOString()} ${id}`).toString('base64url')

function readCursor(cursor: string): Position {
  const [, at = '', id = ''] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (!UUID.test(id) || !isStorable(new Date(at))) throw invalidField('cursor', 'format', 'must be the next_cursor of an earlier page')
  return { at: new Date(at), id }
}
