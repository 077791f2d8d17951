import { type Kysely, sql } from 'kysely'

/** Accounts may have no username, and carry metadata. A constant default rewrites no row. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE users ALTER COLUMN username DROP NOT NULL`.execute(db)
  await sql`ALTER TABLE pending_registrations ALTER COLUMN username DROP NOT NULL`.execute(db)
  await sql`ALTER TABLE users ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}'`.execute(db)
}

/** Accounts without a username get one of the end of their id. Pending registrations without a username end. */
export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE users DROP COLUMN metadata`.execute(db)
  await sql`DELETE FROM pending_registrations WHERE username IS NULL`.execute(db)
  await sql`UPDATE users SET username = 'user-' || right(replace(id::text, '-', ''), 26) WHERE username IS NULL`.execute(db)
  await sql`ALTER TABLE pending_registrations ALTER COLUMN username SET NOT NULL`.execute(db)
  await sql`ALTER TABLE users ALTER COLUMN username SET NOT NULL`.execute(db)
}
