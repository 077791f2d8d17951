import { type Kysely, sql } from 'kysely'

/** It only adds, so that programs of the version before go on beside it. */
export const minimum = '0019-schema-minimum'

/** The countries that users log in from. New columns without a default rewrite no row. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE sessions ADD COLUMN country text`.execute(db)
  await sql`ALTER TABLE links ADD COLUMN country text`.execute(db)
  await sql`
    CREATE TABLE user_countries (
      user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      country text NOT NULL,
      seen_at timestamptz NOT NULL,
      PRIMARY KEY (user_id, country)
    )`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE user_countries`.execute(db)
  await sql`ALTER TABLE links DROP COLUMN country`.execute(db)
  await sql`ALTER TABLE sessions DROP COLUMN country`.execute(db)
}
