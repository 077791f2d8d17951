import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // rises when an operator unlocks the account: failed attempts from before no longer count
  await sql`ALTER TABLE users ADD COLUMN unlocks integer NOT NULL DEFAULT 0`.execute(db)
  // devices of earlier logins. A known device has its own limit of attempts, which attempts from elsewhere do not use up
  await sql`
    CREATE TABLE devices (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      token_hash    bytea NOT NULL UNIQUE,
      network       text,
      user_agent    text,
      first_seen_at timestamptz NOT NULL,
      last_seen_at  timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX devices_by_user ON devices (user_id, last_seen_at)`.execute(db)
  await sql`CREATE INDEX devices_by_time ON devices (last_seen_at)`.execute(db)
  await sql`ALTER TABLE sessions ADD COLUMN created_at timestamptz, ADD COLUMN device_id uuid REFERENCES devices ON DELETE SET NULL`.execute(
    db,
  )
  await sql`UPDATE sessions SET created_at = auth_time`.execute(db)
  await sql`ALTER TABLE sessions ALTER COLUMN created_at SET NOT NULL`.execute(db)
  await sql`CREATE INDEX sessions_by_device ON sessions (device_id) WHERE device_id IS NOT NULL`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE sessions DROP COLUMN created_at, DROP COLUMN device_id`.execute(db)
  await sql`DROP TABLE devices`.execute(db)
  await sql`ALTER TABLE users DROP COLUMN unlocks`.execute(db)
}
