import { type Kysely, sql } from 'kysely'

/** It only adds tables, so that programs of the version before go on beside it. */
export const minimum = '0019-schema-minimum'

/** Sign-in with a provider, and invitations. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // an account is known by issuer and subject, never by its address
  await sql`
    CREATE TABLE linked_logins (
      id           uuid PRIMARY KEY,
      user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      provider     text NOT NULL,
      issuer       text NOT NULL,
      subject      text NOT NULL,
      email        text,
      created_at   timestamptz NOT NULL,
      last_used_at timestamptz NOT NULL,
      UNIQUE (issuer, subject),
      UNIQUE (user_id, issuer)
    )`.execute(db)
  await sql`
    CREATE TABLE login_flows (
      state_hash    bytea PRIMARY KEY,
      cookie_hash   bytea NOT NULL,
      provider      text NOT NULL,
      intent        text NOT NULL CHECK (intent IN ('login', 'link', 'reauthenticate')),
      user_id       uuid REFERENCES users ON DELETE CASCADE,
      session_id    uuid REFERENCES sessions ON DELETE CASCADE,
      invitation    bytea,
      return_to     text,
      is_persistent boolean NOT NULL,
      answer_sealed text,
      created_at    timestamptz NOT NULL,
      expires_at    timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX login_flows_by_end ON login_flows (expires_at)`.execute(db)
  // without a session while a second factor is still owed
  await sql`
    CREATE TABLE provider_logins (
      id              uuid PRIMARY KEY,
      linked_login_id uuid NOT NULL REFERENCES linked_logins ON DELETE CASCADE,
      session_id      uuid UNIQUE REFERENCES sessions ON DELETE CASCADE,
      provider_sid    text,
      id_token_sealed text,
      created_at      timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX provider_logins_by_login ON provider_logins (linked_login_id)`.execute(db)
  await sql`CREATE INDEX provider_logins_unfinished ON provider_logins (created_at) WHERE session_id IS NULL`.execute(db)
  await sql`
    CREATE TABLE invitations (
      id              uuid PRIMARY KEY,
      email           text NOT NULL,
      email_canonical text NOT NULL,
      roles           text[] NOT NULL,
      token_hash      bytea NOT NULL UNIQUE,
      invited_by      uuid REFERENCES users ON DELETE CASCADE,
      created_at      timestamptz NOT NULL,
      expires_at      timestamptz NOT NULL
    )`.execute(db)
  // a new invitation of an address replaces the invitation before
  await sql`CREATE UNIQUE INDEX invitations_by_address ON invitations (email_canonical)`.execute(db)
  await sql`CREATE INDEX invitations_by_end ON invitations (expires_at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ['invitations', 'provider_logins', 'login_flows', 'linked_logins'])
    await sql`DROP TABLE ${sql.table(table)}`.execute(db)
}
