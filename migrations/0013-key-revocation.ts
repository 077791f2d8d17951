import { type Kysely, sql } from 'kysely'

/** Signing keys can be revoked, and each knows the longest lifetime of the tokens that it signed. Both tables are small. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE signing_keys ADD COLUMN lifetime_seconds integer`.execute(db)
  await sql`
    ALTER TABLE revocations
      ADD COLUMN kid text,
      DROP CONSTRAINT revocations_check,
      ADD CONSTRAINT revocations_check CHECK (
        num_nonnulls(session_id, user_id, kid) = 1 AND (user_id IS NULL) = (min_epoch IS NULL)
      )`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  // the keys of these rows are deleted already
  await sql`DELETE FROM revocations WHERE kid IS NOT NULL`.execute(db)
  await sql`
    ALTER TABLE revocations
      DROP CONSTRAINT revocations_check,
      DROP COLUMN kid,
      ADD CONSTRAINT revocations_check CHECK ((session_id IS NOT NULL) <> (user_id IS NOT NULL AND min_epoch IS NOT NULL))`.execute(db)
  await sql`ALTER TABLE signing_keys DROP COLUMN lifetime_seconds`.execute(db)
}
