import { type Kysely, sql } from 'kysely'

type Progress = (text: string) => void
const NO_PROGRESS: Progress = () => {}

/** The log may have millions of rows: indexes and the foreign key are made last, after the rows are in place. */
export async function up(db: Kysely<unknown>, progress: Progress = NO_PROGRESS): Promise<void> {
  await sql`DROP INDEX audit_log_by_user, audit_log_by_time`.execute(db)
  progress('the columns of the audit log')
  // xid: a row is settled once its transaction and all older ones have ended. mac: null in rows from before this step.
  // at: in milliseconds, as in the MAC
  await sql`
    ALTER TABLE audit_log
      ADD COLUMN detail   text,
      ADD COLUMN personal text,
      ADD COLUMN mac      text,
      ADD COLUMN xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
      ADD COLUMN batch    integer,
      ALTER COLUMN at DROP DEFAULT,
      ALTER COLUMN at TYPE timestamptz(3)`.execute(db)
  // personal data is stored beside its row; only a salted hash links them. Erasing the data leaves the sealed row intact
  await sql`
    CREATE TABLE audit_personal (
      event_id   uuid NOT NULL,
      salt       text NOT NULL,
      ip         text,
      user_agent text
    )`.execute(db)
  progress('the addresses of the audit log')
  await sql`
    INSERT INTO audit_personal (event_id, salt, ip)
    SELECT id, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), ip FROM audit_log WHERE ip IS NOT NULL`.execute(db)
  progress('the hashes of the addresses')
  // each update would add to the primary key, too
  await sql`ALTER TABLE audit_log DROP CONSTRAINT audit_log_pkey`.execute(db)
  await sql`
    UPDATE audit_log l SET personal = encode(sha256(convert_to(p.salt || '[' || to_json(p.ip)::text || ',null]', 'UTF8')), 'hex')
    FROM audit_personal p WHERE p.event_id = l.id`.execute(db)
  await sql`ALTER TABLE audit_log DROP COLUMN ip`.execute(db)
  progress('the keys of the audit log')
  await sql`ALTER TABLE audit_log ADD PRIMARY KEY (id)`.execute(db)
  await sql`ALTER TABLE audit_personal ADD PRIMARY KEY (event_id)`.execute(db)
  await sql`ALTER TABLE audit_personal ADD FOREIGN KEY (event_id) REFERENCES audit_log ON DELETE CASCADE`.execute(db)
  await sql`
    CREATE TABLE audit_batches (
      number          integer PRIMARY KEY,
      previous        text,
      sealed_at       timestamptz(3) NOT NULL,
      size            integer NOT NULL,
      root            text NOT NULL,
      is_adopted      boolean NOT NULL,
      removed_through integer NOT NULL,
      head            text NOT NULL,
      mac             text NOT NULL
    )`.execute(db)

  progress('the indexes of the audit log')
  await sql`CREATE INDEX audit_log_by_time ON audit_log (at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_by_user ON audit_log (user_id, at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_by_actor ON audit_log (actor, at, id) WHERE actor IS NOT NULL`.execute(db)
  await sql`CREATE INDEX audit_log_by_event ON audit_log (event, at, id)`.execute(db)
  await sql`CREATE INDEX audit_log_unsealed ON audit_log (xid, id) WHERE batch IS NULL`.execute(db)
  await sql`CREATE INDEX audit_log_by_batch ON audit_log (batch, id) WHERE batch IS NOT NULL`.execute(db)
  // the next readers are the sealer and the lists of administrators
  await sql`ANALYZE audit_log, audit_personal`.execute(db)
}

export async function down(db: Kysely<unknown>, progress: Progress = NO_PROGRESS): Promise<void> {
  // all of them, so that the update below changes no index
  await sql`DROP INDEX audit_log_by_time, audit_log_by_user, audit_log_by_actor, audit_log_by_event, audit_log_unsealed, audit_log_by_batch`.execute(
    db,
  )
  await sql`ALTER TABLE audit_log ADD COLUMN ip text`.execute(db)
  progress('the addresses of the audit log')
  await sql`UPDATE audit_log l SET ip = p.ip FROM audit_personal p WHERE p.event_id = l.id`.execute(db)
  await sql`DROP TABLE audit_batches, audit_personal`.execute(db)
  progress('the columns of the audit log')
  await sql`
    ALTER TABLE audit_log
      DROP COLUMN detail, DROP COLUMN personal, DROP COLUMN mac, DROP COLUMN xid, DROP COLUMN batch,
      ALTER COLUMN at TYPE timestamptz,
      ALTER COLUMN at SET DEFAULT clock_timestamp()`.execute(db)
  await sql`CREATE INDEX audit_log_by_user ON audit_log (user_id, at)`.execute(db)
  await sql`CREATE INDEX audit_log_by_time ON audit_log (at)`.execute(db)
}
