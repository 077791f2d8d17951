import { sql } from 'kysely'
import type { Db, Transaction } from '../db/database.ts'
import { deleteOldest } from '../db/delete-oldest.ts'
import type { CounterTable } from './limiter.ts'

/** Fixed windows, one row for each key, by the database's clock. The count of a window is never negative. */
export async function addToCounter(
  db: Db | Transaction,
  key: string,
  points: number,
  windowSeconds: number,
): ReturnType<CounterTable['add']> {
  const { rows } = await sql<{ count: number; ms_left: number }>`
      INSERT INTO limit_counters AS c (key, count, resets_at)
      VALUES (${key}, greatest(${points}::int, 0), clock_timestamp() + make_interval(secs => ${windowSeconds}::int))
      ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN c.resets_at <= clock_timestamp() THEN excluded.count ELSE greatest(c.count + ${points}::int, 0) END,
        resets_at = CASE WHEN c.resets_at <= clock_timestamp() THEN excluded.resets_at ELSE c.resets_at END
      RETURNING count, (extract(epoch FROM resets_at - clock_timestamp()) * 1000)::float8 AS ms_left`.execute(db)
  return { count: rows[0]!.count, msLeft: rows[0]!.ms_left }
}

export const createCounterTable = (db: Db): CounterTable => ({
  add: (key, points, windowSeconds) => addToCounter(db, key, points, windowSeconds),
  async clear(key) {
    await db.deleteFrom('limit_counters').where('key', '=', key).execute()
  },
})

export const deleteEndedCounters = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'limit_counters', 'resets_at', now, limit)
