import { type Kysely, sql } from 'kysely'

/** It only adds, so that programs of the version before go on beside it. */
export const minimum = '0019-schema-minimum'

/** Passkeys, and logins by a mailed code or link. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // random, so that it tells an authenticator nothing about the user (WebAuthn L3 §14.6.1)
  await sql`ALTER TABLE users ADD COLUMN passkey_handle bytea`.execute(db)
  await sql`
    CREATE TABLE passkeys (
      id                 uuid PRIMARY KEY,
      user_id            uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      credential_id      bytea NOT NULL UNIQUE,
      public_key         bytea NOT NULL,
      rp_id              text NOT NULL,
      sign_count         bigint NOT NULL,
      transports         text[] NOT NULL,
      is_backup_eligible boolean NOT NULL,
      is_backed_up       boolean NOT NULL,
      name               text NOT NULL,
      created_at         timestamptz NOT NULL,
      last_used_at       timestamptz
    )`.execute(db)
  await sql`CREATE INDEX passkeys_of_user ON passkeys (user_id)`.execute(db)
  // the seed of an authenticator app is the key of the backup codes, where there is one
  await sql`
    CREATE TABLE backup_code_keys (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
      secret_sealed text NOT NULL
    )`.execute(db)
  await sql`
    CREATE TABLE email_logins (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      flow_hash     bytea NOT NULL UNIQUE,
      code_mac      text NOT NULL,
      link_hash     bytea UNIQUE,
      email         text NOT NULL,
      session_epoch integer NOT NULL,
      is_known      boolean NOT NULL,
      device        text,
      created_at    timestamptz NOT NULL,
      expires_at    timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX email_logins_of_user ON email_logins (user_id)`.execute(db)
  await sql`CREATE INDEX email_logins_by_end ON email_logins (expires_at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ['email_logins', 'backup_code_keys', 'passkeys']) await sql`DROP TABLE ${sql.table(table)}`.execute(db)
  await sql`ALTER TABLE users DROP COLUMN passkey_handle`.execute(db)
}
