import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // an administrator removed the second factor: the next login needs a mailed link as well
  await sql`ALTER TABLE users ADD COLUMN must_confirm_login boolean NOT NULL DEFAULT false`.execute(db)
  await sql`
    ALTER TABLE links
      DROP CONSTRAINT links_purpose_check,
      ADD CONSTRAINT links_purpose_check CHECK (purpose IN ('reset_password', 'verify_email', 'confirm_login'))`.execute(db)
  // the session that made the key. Null: made before this column. The key outlives the row of the session
  await sql`ALTER TABLE api_keys ADD COLUMN session_id uuid`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE api_keys DROP COLUMN session_id`.execute(db)
  await sql`DELETE FROM links WHERE purpose = 'confirm_login'`.execute(db)
  await sql`
    ALTER TABLE links
      DROP CONSTRAINT links_purpose_check,
      ADD CONSTRAINT links_purpose_check CHECK (purpose IN ('reset_password', 'verify_email'))`.execute(db)
  await sql`ALTER TABLE users DROP COLUMN must_confirm_login`.execute(db)
}
