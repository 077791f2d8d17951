import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE signing_keys (
      kid            text PRIMARY KEY,
      algorithm      text NOT NULL,
      state          text NOT NULL CHECK (state IN ('next', 'current', 'retired')),
      public_jwk     text NOT NULL,
      public_mac     text NOT NULL,
      private_sealed text NOT NULL,
      created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
      activates_at   timestamptz NOT NULL,
      retired_at     timestamptz
    )`.execute(db)
  await sql`CREATE UNIQUE INDEX signing_keys_one_current ON signing_keys (state) WHERE state = 'current'`.execute(db)
  await sql`CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (state) WHERE state = 'next'`.execute(db)
  // a single row; opening it shows that PORTCULLIS_SECRET_KEY is the right key
  await sql`CREATE TABLE secret_canary (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), sealed text NOT NULL)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE secret_canary, signing_keys`.execute(db)
}
