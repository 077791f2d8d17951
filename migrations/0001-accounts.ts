import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE users (
      id                   uuid PRIMARY KEY,
      username             text NOT NULL UNIQUE,
      email                text NOT NULL,
      email_canonical      text NOT NULL UNIQUE,
      email_verified_at    timestamptz,
      password_hash        text NOT NULL,
      password_must_change boolean NOT NULL DEFAULT false,
      roles                text[] NOT NULL DEFAULT '{}',
      token_epoch          integer NOT NULL DEFAULT 1,
      session_epoch        integer NOT NULL DEFAULT 1,
      disabled_at          timestamptz,
      created_at           timestamptz NOT NULL DEFAULT now(),
      last_login_at        timestamptz
    )`.execute(db)
  await sql`
    CREATE TABLE sessions (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      amr           text[] NOT NULL,
      ip            text,
      user_agent    text,
      auth_time     timestamptz NOT NULL,
      last_used_at  timestamptz NOT NULL,
      expires_at    timestamptz NOT NULL,
      revoked_at    timestamptz,
      revoke_reason text
    )`.execute(db)
  await sql`CREATE INDEX sessions_by_user ON sessions (user_id) WHERE revoked_at IS NULL`.execute(db)
  await sql`CREATE INDEX sessions_by_expiry ON sessions (expires_at)`.execute(db)
  await sql`CREATE INDEX sessions_by_revocation ON sessions (revoked_at) WHERE revoked_at IS NOT NULL`.execute(db)
  // no foreign key on parent_id: deleting an old parent must not delete its valid descendants
  await sql`
    CREATE TABLE refresh_tokens (
      id           uuid PRIMARY KEY,
      session_id   uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
      token_hash   bytea NOT NULL UNIQUE,
      parent_id    uuid UNIQUE,
      created_at   timestamptz NOT NULL,
      expires_at   timestamptz NOT NULL,
      rotated_at   timestamptz,
      retry_nonce  bytea,
      retry_key_id text
    )`.execute(db)
  await sql`CREATE UNIQUE INDEX refresh_tokens_one_living ON refresh_tokens (session_id) WHERE rotated_at IS NULL`.execute(db)
  await sql`CREATE INDEX refresh_tokens_retryable ON refresh_tokens (rotated_at) WHERE retry_nonce IS NOT NULL`.execute(db)
  await sql`CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at)`.execute(db)
  await sql`CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE refresh_tokens, sessions, users`.execute(db)
}
