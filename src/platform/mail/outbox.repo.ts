import { type Insertable, sql } from 'kysely'
import type { Db, Transaction } from '../db/database.ts'
import type { OutboxTable } from '../db/tables.ts'

export const insertMail = (trx: Transaction, mail: Insertable<OutboxTable>) =>
  trx
    .insertInto('outbox')
    .values(mail)
    .onConflict((c) => c.column('key').doNothing())
    .execute()

/** A mail that a process has claimed to send. */
export interface ClaimedMail {
  id: string
  user_id: string | null
  template: string
  payload_sealed: string
  /** Including the current attempt. */
  attempts: number
  created_at: Date
  is_expired: boolean
}

/** Claims due mails. No other process gets them for `leaseSeconds`. After a crash they are due again when the lease expires. */
export const claimMails = (db: Db, limit: number, leaseSeconds: number): Promise<ClaimedMail[]> =>
  db
    .with('due', (q) =>
      q
        .selectFrom('outbox')
        .select('id')
        .where('payload_sealed', 'is not', null)
        .where('next_attempt_at', '<=', sql<Date>`clock_timestamp()`)
        .orderBy('next_attempt_at')
        .limit(limit)
        .forUpdate()
        .skipLocked(),
    )
    .updateTable('outbox')
    .from('due')
    .set({ attempts: sql`outbox.attempts + 1`, next_attempt_at: sql`clock_timestamp() + make_interval(secs => ${leaseSeconds})` })
    .whereRef('outbox.id', '=', 'due.id')
    .returning([
      'outbox.id',
      'outbox.user_id',
      'outbox.template',
      'outbox.payload_sealed',
      'outbox.attempts',
      'outbox.created_at',
      sql<boolean>`outbox.expires_at <= clock_timestamp()`.as('is_expired'),
    ])
    .$narrowType<{ payload_sealed: string }>()
    .execute()

/** Also when another process has claimed the mail meanwhile: it was sent. */
export const markSent = (db: Db, id: string) =>
  db.updateTable('outbox').set({ sent_at: sql`clock_timestamp()`, payload_sealed: null, last_error: null }).where('id', '=', id).execute()

/** Schedules the next attempt, at the latest when the mail expires. Does nothing when another process has claimed the mail meanwhile. */
export const postponeMail = (db: Db, { id, attempts }: ClaimedMail, seconds: number, error: string) =>
  db
    .updateTable('outbox')
    .set({ next_attempt_at: sql`least(expires_at, clock_timestamp() + make_interval(secs => ${seconds}))`, last_error: error })
    .where('id', '=', id)
    .where('attempts', '=', attempts)
    .execute()

export const giveUpMail = (db: Db, { id, attempts }: ClaimedMail, error: string) =>
  db
    .updateTable('outbox')
    .set({ failed_at: sql`clock_timestamp()`, payload_sealed: null, last_error: error })
    .where('id', '=', id)
    .where('attempts', '=', attempts)
    .execute()

export async function countWaitingMails(db: Db): Promise<number> {
  const { n } = await db
    .selectFrom('outbox')
    .select(sql<number>`count(*)::int`.as('n'))
    .where('payload_sealed', 'is not', null)
    .executeTakeFirstOrThrow()
  return n
}

/** Deletes mails that no longer wait. @returns their number, at most `limit` */
export async function deleteOldMails(db: Db, before: Date, limit: number): Promise<number> {
  const old = db
    .selectFrom('outbox')
    .select('id')
    .where('created_at', '<', before)
    .where('payload_sealed', 'is', null)
    .orderBy('created_at')
    .limit(limit)
  const { numDeletedRows } = await db.deleteFrom('outbox').where('id', 'in', old).executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
