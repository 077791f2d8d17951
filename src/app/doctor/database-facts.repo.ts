/** What the doctor asks the database. Only reads. */
import { sql } from 'kysely'
import type { Db } from '../../platform/db/database.ts'

export interface ServerFacts {
  version: string
  major: number
  maxConnections: number
  /** For administrators. */
  reserved: number
  /** Of the user and of the database. -1: no limit. */
  ownLimit: number
  /** Connections of other programs. */
  others: number
  bytes: number
  canConnect: boolean
  schema: string | null
  canCreate: boolean
  /** Tables of ours that this user may not read and write. */
  forbidden: number
  /** Tables of ours that belong to another user. */
  foreign: number
}

/** @throws DatabaseUnavailable */
export async function readFacts(db: Db): Promise<ServerFacts> {
  const { rows } = await sql<ServerFacts>`
    WITH ours AS (
      SELECT c.oid, c.relowner FROM pg_class c
      WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
        AND EXISTS (SELECT 1 FROM pg_class k WHERE k.relname = 'kysely_migration' AND k.relnamespace = c.relnamespace)
    )
    SELECT current_setting('server_version') AS version,
      current_setting('server_version_num')::int / 10000 AS major,
      current_setting('max_connections')::int AS "maxConnections",
      current_setting('superuser_reserved_connections')::int AS reserved,
      (SELECT coalesce(min(n), -1)::int FROM (
        SELECT rolconnlimit AS n FROM pg_roles WHERE rolname = current_user
        UNION ALL SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS limits WHERE n >= 0) AS "ownLimit",
      (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name NOT LIKE 'portcullis%') AS others,
      pg_database_size(current_database())::float8 AS bytes,
      has_database_privilege(current_database(), 'CONNECT') AS "canConnect",
      current_schema() AS schema,
      coalesce(has_schema_privilege(current_schema(), 'CREATE') AND has_schema_privilege(current_schema(), 'USAGE'), false) AS "canCreate",
      (SELECT count(*)::int FROM ours WHERE NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))) AS forbidden,
      (SELECT count(*)::int FROM ours WHERE NOT pg_has_role(relowner, 'USAGE')) AS foreign`.execute(db)
  return rows[0]!
}

export const ping = (db: Db): Promise<unknown> => sql`SELECT 1`.execute(db)

/** Milliseconds since the epoch, by the clock of the database. */
export async function readTime(db: Db): Promise<number> {
  const { rows } = await sql<{ ms: number }>`SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms`.execute(db)
  return rows[0]!.ms
}

/** False: the schema is missing or older than keys. */
export async function hasCanaryTable(db: Db): Promise<boolean> {
  const { rows } = await sql<{ there: boolean }>`SELECT to_regclass('secret_canary') IS NOT NULL AS there`.execute(db)
  return rows[0]!.there
}
