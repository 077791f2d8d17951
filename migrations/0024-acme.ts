import { type Kysely, sql } from 'kysely'

/** It only adds, so that programs of the version before go on beside it. */
export const minimum = '0019-schema-minimum'

/** ACME (RFC 8555): accounts, certificates and pending challenges, which all gateways share. Private keys are sealed. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE acme_accounts (
      directory_url text PRIMARY KEY,
      key_sealed text NOT NULL,
      created_at timestamptz NOT NULL
    )`.execute(db)
  await sql`
    CREATE TABLE acme_certificates (
      directory_url text NOT NULL,
      names text NOT NULL,
      chain text,
      key_sealed text,
      not_before timestamptz,
      not_after timestamptz,
      issued_at timestamptz,
      failures integer NOT NULL DEFAULT 0,
      last_outcome text,
      retry_at timestamptz,
      PRIMARY KEY (directory_url, names)
    )`.execute(db)
  await sql`
    CREATE TABLE acme_challenges (
      token text PRIMARY KEY,
      kind text NOT NULL,
      domain text NOT NULL,
      key_authorization text NOT NULL,
      certificate_sealed text,
      expires_at timestamptz NOT NULL
    )`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ['acme_challenges', 'acme_certificates', 'acme_accounts']) await sql`DROP TABLE ${sql.table(table)}`.execute(db)
}
