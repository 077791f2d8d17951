import { type Kysely, sql } from 'kysely'

/** Sessions of browsers. A row is one value of the session cookie: a step-up gives the session a new value. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE session_cookies (
      id            uuid PRIMARY KEY,
      session_id    uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
      purpose       text NOT NULL CHECK (purpose IN ('browser', 'console')),
      token_hash    bytea NOT NULL UNIQUE,
      amr           text[] NOT NULL,
      auth_time     timestamptz NOT NULL,
      is_persistent boolean NOT NULL,
      created_at    timestamptz NOT NULL,
      superseded_at timestamptz
    )`.execute(db)
  await sql`CREATE INDEX session_cookies_by_session ON session_cookies (session_id)`.execute(db)
  // of two step-ups at the same moment, one value is left
  await sql`CREATE UNIQUE INDEX session_cookies_one_current ON session_cookies (session_id) WHERE superseded_at IS NULL`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  // a session without a refresh token and without a cookie can never be used again
  await sql`DELETE FROM sessions WHERE id IN (SELECT session_id FROM session_cookies)`.execute(db)
  await sql`DROP TABLE session_cookies`.execute(db)
}
