import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE api_keys (
      id           uuid PRIMARY KEY,
      user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      name         text NOT NULL,
      hint         text NOT NULL,
      key_hash     bytea NOT NULL UNIQUE,
      roles        text[] NOT NULL,
      scopes       text[] NOT NULL,
      created_at   timestamptz NOT NULL,
      expires_at   timestamptz,
      last_used_at timestamptz,
      revoked_at   timestamptz
    )`.execute(db)
  await sql`CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at)`.execute(db)
  // machine clients (RFC 6749 §2), with a secret or with public keys that verify their assertions
  await sql`
    CREATE TABLE clients (
      id           uuid PRIMARY KEY,
      name         text NOT NULL UNIQUE,
      secret_hash  bytea,
      jwks         text,
      roles        text[] NOT NULL,
      scopes       text[] NOT NULL,
      token_epoch  integer NOT NULL DEFAULT 1,
      created_at   timestamptz NOT NULL,
      disabled_at  timestamptz,
      last_used_at timestamptz,
      CHECK (secret_hash IS NOT NULL OR jwks IS NOT NULL)
    )`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE clients, api_keys`.execute(db)
}
