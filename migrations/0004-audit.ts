import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // no foreign keys: a row stays when its user is deleted
  await sql`
    CREATE TABLE audit_log (
      id         uuid PRIMARY KEY,
      at         timestamptz NOT NULL DEFAULT clock_timestamp(),
      event      text NOT NULL,
      outcome    text NOT NULL,
      user_id    uuid,
      session_id uuid,
      actor      text,
      ip         text,
      request_id text
    )`.execute(db)
  await sql`CREATE INDEX audit_log_by_user ON audit_log (user_id, at)`.execute(db)
  await sql`CREATE INDEX audit_log_by_time ON audit_log (at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE audit_log`.execute(db)
}
