import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // an operator has given the address: it counts as proven, although no link was opened
  await sql`ALTER TABLE users ADD COLUMN is_email_vouched boolean NOT NULL DEFAULT false`.execute(db)
  await sql`
    UPDATE users SET is_email_vouched = true
    WHERE email_verified_at IS NULL AND EXISTS (
      SELECT 1 FROM audit_log l
      WHERE l.user_id = users.id AND l.event IN ('admin_bootstrap', 'user_create', 'user_import') AND l.outcome = 'success'
    )`.execute(db)

  // the session that asked may use its link without the password; null: no session asked. device: a name of a fixed list
  await sql`ALTER TABLE links ADD COLUMN session_id uuid, ADD COLUMN device text`.execute(db)

  // several registrations may wait for one address, each with its own password and its own links
  await sql`
    CREATE TABLE pending_links (
      token_hash bytea PRIMARY KEY,
      pending_id uuid NOT NULL REFERENCES pending_registrations ON DELETE CASCADE,
      created_at timestamptz NOT NULL,
      expires_at timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX pending_links_by_registration ON pending_links (pending_id)`.execute(db)
  await sql`
    INSERT INTO pending_links (token_hash, pending_id, created_at, expires_at)
    SELECT token_hash, id, created_at, expires_at FROM pending_registrations`.execute(db)
  await sql`
    ALTER TABLE pending_registrations
      DROP CONSTRAINT pending_registrations_username_key,
      DROP COLUMN token_hash,
      ADD COLUMN device text,
      ADD COLUMN network text`.execute(db)
  await sql`CREATE INDEX pending_registrations_by_name ON pending_registrations (username)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP INDEX pending_registrations_by_name`.execute(db)
  await sql`ALTER TABLE pending_registrations DROP COLUMN network, DROP COLUMN device, ADD COLUMN token_hash bytea UNIQUE`.execute(db)
  await sql`
    UPDATE pending_registrations p SET token_hash = (
      SELECT l.token_hash FROM pending_links l WHERE l.pending_id = p.id ORDER BY l.created_at DESC LIMIT 1
    )`.execute(db)
  await sql`DROP TABLE pending_links`.execute(db)
  // the older form keeps one registration for each name, and each has a link
  await sql`
    DELETE FROM pending_registrations p
    WHERE token_hash IS NULL OR EXISTS (SELECT 1 FROM pending_registrations q WHERE q.username = p.username AND q.id > p.id)`.execute(db)
  await sql`
    ALTER TABLE pending_registrations
      ALTER COLUMN token_hash SET NOT NULL,
      ADD CONSTRAINT pending_registrations_username_key UNIQUE (username)`.execute(db)
  await sql`ALTER TABLE links DROP COLUMN device, DROP COLUMN session_id`.execute(db)
  await sql`ALTER TABLE users DROP COLUMN is_email_vouched`.execute(db)
}
