import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`ALTER TABLE users ADD COLUMN mfa_enabled boolean NOT NULL DEFAULT false`.execute(db)
  // a user has at most one confirmed factor and one unconfirmed factor: enrolment never replaces a confirmed factor
  await sql`
    CREATE TABLE totp_factors (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      secret_sealed text NOT NULL,
      last_step     integer NOT NULL DEFAULT 0,
      created_at    timestamptz NOT NULL,
      confirmed_at  timestamptz
    )`.execute(db)
  await sql`CREATE UNIQUE INDEX totp_factors_one_confirmed ON totp_factors (user_id) WHERE confirmed_at IS NOT NULL`.execute(db)
  await sql`CREATE UNIQUE INDEX totp_factors_one_waiting ON totp_factors (user_id) WHERE confirmed_at IS NULL`.execute(db)
  await sql`
    CREATE TABLE backup_codes (
      id       uuid PRIMARY KEY,
      user_id  uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      code_mac text NOT NULL,
      used_at  timestamptz
    )`.execute(db)
  await sql`CREATE INDEX backup_codes_by_user ON backup_codes (user_id)`.execute(db)
  // identifiers of single-use tokens: our MFA tokens, and assertions of OAuth clients (RFC 7523 §3)
  await sql`
    CREATE TABLE used_tokens (
      issuer     text NOT NULL,
      jti        text NOT NULL,
      expires_at timestamptz NOT NULL,
      PRIMARY KEY (issuer, jti)
    )`.execute(db)
  await sql`CREATE INDEX used_tokens_by_expiry ON used_tokens (expires_at)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE used_tokens, backup_codes, totp_factors`.execute(db)
  await sql`ALTER TABLE users DROP COLUMN mfa_enabled`.execute(db)
}
