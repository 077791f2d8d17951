import { type Kysely, sql } from 'kysely'

/** It only adds, so that programs of the version before go on beside it: they know no tokens of other issuers. */
export const minimum = '0019-schema-minimum'

/** Blocks of subjects and tokens of other issuers are revocations that can be lifted: of a key, the highest version counts. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    ALTER TABLE revocations
      ADD COLUMN block_key text,
      ADD COLUMN version bigint,
      ADD COLUMN is_lifted boolean,
      DROP CONSTRAINT revocations_check,
      ADD CONSTRAINT revocations_check CHECK (
        num_nonnulls(session_id, user_id, kid, block_key) = 1 AND (user_id IS NULL) = (min_epoch IS NULL)
        AND (block_key IS NULL) = (version IS NULL) AND (block_key IS NULL) = (is_lifted IS NULL)
      )`.execute(db)
  await sql`CREATE INDEX revocations_of_blocks ON revocations (block_key) WHERE block_key IS NOT NULL`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DELETE FROM revocations WHERE block_key IS NOT NULL`.execute(db)
  await sql`
    ALTER TABLE revocations
      DROP CONSTRAINT revocations_check,
      DROP COLUMN block_key,
      DROP COLUMN version,
      DROP COLUMN is_lifted,
      ADD CONSTRAINT revocations_check CHECK (
        num_nonnulls(session_id, user_id, kid) = 1 AND (user_id IS NULL) = (min_epoch IS NULL)
      )`.execute(db)
}
