import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // counts credential limits while Redis is not available. UNLOGGED: a crash loses no more than a crash of Redis would
  await sql`CREATE UNLOGGED TABLE limit_counters (key text PRIMARY KEY, count integer NOT NULL, resets_at timestamptz NOT NULL)`.execute(db)
  await sql`CREATE INDEX limit_counters_by_reset ON limit_counters (resets_at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE limit_counters`.execute(db)
}
