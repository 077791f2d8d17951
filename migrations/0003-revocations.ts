import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // xid: readers select `xid >= the oldest transaction running at their last read`, so that they never miss a late commit
  await sql`
    CREATE TABLE revocations (
      id         uuid PRIMARY KEY,
      xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
      session_id uuid,
      user_id    uuid,
      min_epoch  integer,
      expires_at timestamptz NOT NULL,
      CHECK ((session_id IS NOT NULL) <> (user_id IS NOT NULL AND min_epoch IS NOT NULL))
    )`.execute(db)
  await sql`CREATE INDEX revocations_by_xid ON revocations (xid)`.execute(db)
  await sql`CREATE INDEX revocations_by_expiry ON revocations (expires_at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE revocations`.execute(db)
}
