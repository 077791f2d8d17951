import { type Kysely, sql } from 'kysely'

type Progress = (text: string) => void
const NO_PROGRESS: Progress = () => {}

/** Lists, searches and the cleanup of large tables read indexes only. */
export async function up(db: Kysely<unknown>, progress: Progress = NO_PROGRESS): Promise<void> {
  // every part of one, two and three characters. A search reads the index of parts; pg_trgm would need an extension, and finds no shorter
  // parts. The address is in it as it is compared and as it is shown: the domain may differ.
  // The cost keeps the planner from computing the parts of many rows
  await sql`
    CREATE FUNCTION user_search_parts(username text, email_canonical text, email text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5000 AS $$
      SELECT array(
        SELECT substr(t, i, n)
        FROM unnest(array[username, email_canonical, nullif(lower(email), email_canonical)]) t,
          generate_series(1, 3) n, generate_series(1, length(t) - n + 1) i
      )
    $$`.execute(db)
  progress('the index of parts of names and addresses')
  // a short list of waiting entries: each search reads all of it
  await sql`
    CREATE INDEX users_by_part ON users USING gin (user_search_parts(username, email_canonical, email))
    WITH (gin_pending_list_limit = 256)`.execute(db)
  await sql`CREATE INDEX users_by_role ON users USING gin (roles)`.execute(db)
  await sql`CREATE INDEX users_disabled ON users (id) WHERE disabled_at IS NOT NULL`.execute(db)
  // the planner knows how often each part occurs only after this
  await sql`ANALYZE users`.execute(db)

  progress('the indexes of the audit log')
  await sql`CREATE INDEX audit_log_by_user_event ON audit_log (user_id, event, at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_by_outcome ON audit_log (outcome, at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_by_event_outcome ON audit_log (event, outcome, at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_by_actor_event ON audit_log (actor, event, at, id) WHERE actor IS NOT NULL`.execute(db)
  await sql`CREATE INDEX audit_log_erasures ON audit_log (user_id, at) WHERE event = 'audit_erase'`.execute(db)

  progress('the indexes of sessions and keys')
  // the deletion of a user looks for all rows of the user; the older indexes hold only some
  await sql`CREATE INDEX sessions_by_owner ON sessions (user_id)`.execute(db)
  await sql`CREATE INDEX totp_factors_by_user ON totp_factors (user_id)`.execute(db)
  await sql`CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL`.execute(db)
  await sql`CREATE INDEX api_keys_by_revocation ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP INDEX api_keys_by_revocation, api_keys_by_expiry, totp_factors_by_user, sessions_by_owner`.execute(db)
  await sql`DROP INDEX audit_log_erasures, audit_log_by_actor_event, audit_log_by_event_outcome, audit_log_by_outcome, audit_log_by_user_event`.execute(
    db,
  )
  await sql`DROP INDEX users_disabled, users_by_role, users_by_part`.execute(db)
  await sql`DROP FUNCTION user_search_parts(text, text, text)`.execute(db)
}
