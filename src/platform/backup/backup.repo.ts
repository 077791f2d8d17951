/** The SQL of backups. Rows travel as JSON of Postgres, which keeps every digit; this process never reads their values. */
import { sql } from 'kysely'
import type { Db, Transaction } from '../db/database.ts'
import { OWN_OF_THE_SERVER } from './table-rules.ts'

/** For a transaction that takes as long as it needs. */
export const setNoTimeLimits = (trx: Transaction) =>
  sql`SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)`.execute(trx)

export async function hasRows(db: Db, table: string): Promise<boolean> {
  const { rows: found } = await sql<{ there: boolean }>`SELECT to_regclass(${table}) IS NOT NULL AS there`.execute(db)
  if (!found[0]!.there) return false
  const { rows } = await sql`SELECT 1 FROM ${sql.table(table)} LIMIT 1`.execute(db)
  return rows.length > 0
}

/** The columns that a backup holds. */
export async function findColumns(trx: Transaction, table: string): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    SELECT attname AS name FROM pg_attribute
    WHERE attrelid = to_regclass(${table}) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attname <> ${OWN_OF_THE_SERVER}
    ORDER BY attnum`.execute(trx)
  return rows.map(({ name }) => name)
}

const namesOf = (columns: readonly string[]) => sql.join(columns.map((name) => sql.id(name)))

const ROWS_AT_ONCE = 1000

/** Each row as a JSON object, some at a time. */
export async function* readRows(trx: Transaction, table: string, columns: readonly string[]): AsyncGenerator<string[]> {
  const cursor = sql.id(`backup_${table}`)
  await sql`DECLARE ${cursor} NO SCROLL CURSOR FOR
    SELECT to_jsonb(r)::text AS row FROM (SELECT ${namesOf(columns)} FROM ${sql.id(table)}) r`.execute(trx)
  for (;;) {
    const { rows } = await sql<{ row: string }>`FETCH ${sql.raw(String(ROWS_AT_ONCE))} FROM ${cursor}`.execute(trx)
    if (rows.length > 0) yield rows.map(({ row }) => row)
    if (rows.length < ROWS_AT_ONCE) break
  }
  await sql`CLOSE ${cursor}`.execute(trx)
}

export async function insertRows(trx: Transaction, table: string, columns: readonly string[], rows: string[]): Promise<void> {
  const names = namesOf(columns)
  await sql`INSERT INTO ${sql.id(table)} (${names})
    SELECT ${names} FROM unnest(${rows}::text[]) AS line, jsonb_populate_record(NULL::${sql.id(table)}, line::jsonb)`.execute(trx)
}

/** Rows come table by table, so that what a row refers to may come later. @returns adds the references again, which checks them */
export async function dropReferences(trx: Transaction, tables: readonly string[]): Promise<() => Promise<void>> {
  const { rows } = await sql<{ table: string; name: string; definition: string }>`
    SELECT r.relname AS table, c.conname AS name, pg_get_constraintdef(c.oid) AS definition
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
    WHERE c.contype = 'f' AND r.relname = ANY(${tables}::text[]) AND r.oid = to_regclass(quote_ident(r.relname))`.execute(trx)
  for (const { table, name } of rows) await sql`ALTER TABLE ${sql.id(table)} DROP CONSTRAINT ${sql.id(name)}`.execute(trx)
  return async () => {
    for (const { table, name, definition } of rows)
      await sql`ALTER TABLE ${sql.id(table)} ADD CONSTRAINT ${sql.id(name)} ${sql.raw(definition)}`.execute(trx)
  }
}
