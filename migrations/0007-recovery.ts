import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // single-use links: to set a new password, or to prove an address
  await sql`
    CREATE TABLE links (
      id            uuid PRIMARY KEY,
      user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      purpose       text NOT NULL CHECK (purpose IN ('reset_password', 'verify_email')),
      token_hash    bytea NOT NULL UNIQUE,
      email         text NOT NULL,
      session_epoch integer NOT NULL,
      created_at    timestamptz NOT NULL,
      expires_at    timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX links_by_user ON links (user_id, purpose)`.execute(db)
  await sql`CREATE INDEX links_by_expiry ON links (expires_at)`.execute(db)
  // registrations whose address is not proven yet. An address with an account gets a row, too, without a password: both reserve the username alike
  await sql`
    CREATE TABLE pending_registrations (
      id              uuid PRIMARY KEY,
      username        text NOT NULL UNIQUE,
      email           text NOT NULL,
      email_canonical text NOT NULL,
      password_hash   text,
      token_hash      bytea NOT NULL UNIQUE,
      created_at      timestamptz NOT NULL,
      expires_at      timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX pending_registrations_by_email ON pending_registrations (email_canonical)`.execute(db)
  await sql`CREATE INDEX pending_registrations_by_expiry ON pending_registrations (expires_at)`.execute(db)
  // mails to be sent, written in the transaction of the reported action. The payload (address, links) is sealed, and erased once sent or given up
  await sql`
    CREATE TABLE outbox (
      id              uuid PRIMARY KEY,
      key             text NOT NULL UNIQUE,
      user_id         uuid,
      template        text NOT NULL,
      payload_sealed  text,
      attempts        integer NOT NULL DEFAULT 0,
      created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
      next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      expires_at      timestamptz NOT NULL,
      sent_at         timestamptz,
      failed_at       timestamptz,
      last_error      text
    )`.execute(db)
  await sql`CREATE INDEX outbox_waiting ON outbox (next_attempt_at) WHERE payload_sealed IS NOT NULL`.execute(db)
  await sql`CREATE INDEX outbox_by_time ON outbox (created_at)`.execute(db)
  await sql`CREATE INDEX outbox_by_user ON outbox (user_id)`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE outbox, pending_registrations, links`.execute(db)
}
