import { sql } from 'kysely'
import type { Db } from './database.ts'
import type { Database } from './tables.ts'

/**
 * Deletes rows whose `column` is at or before `until`, the oldest first. The column needs an index. Rows that another transaction has locked
 * are left for the next time. @returns how many, at most `limit`
 */
export async function deleteOldest<T extends keyof Database & string>(
  db: Db,
  table: T,
  column: keyof Database[T] & string,
  until: Date,
  limit: number,
): Promise<number> {
  const [rows, at] = [sql.table(table), sql.ref(column)]
  const { numAffectedRows } = await sql`
    DELETE FROM ${rows} WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM ${rows} WHERE ${at} <= ${until} ORDER BY ${at} LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ))`.execute(db)
  return Number(numAffectedRows ?? 0)
}
