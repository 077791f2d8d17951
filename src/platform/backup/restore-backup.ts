/** Restores a backup into an empty database: the schema of the backup first, then its rows in one transaction, then the newer steps. */
import type { Db, OpenDatabase, Transaction } from '../db/database.ts'
import { migrateUp, migrationStatus, STEPS, type Steps } from '../db/migrate.ts'
import type { MigrationEvent } from '../db/migration-events.ts'
import { dropReferences, findColumns, hasRows, insertRows, setNoTimeLimits } from './backup.repo.ts'
import { BackupError, type BackupHead, type BackupPart } from './format.ts'
import { OF_SESSIONS, WITH_DATA } from './table-rules.ts'

export interface RestoreOptions {
  /** Sessions of the backup are valid again, also those that were ended since. */
  keepSessions: boolean
  report?: (event: MigrationEvent) => void
}

export interface Restored {
  head: BackupHead
  /** How many rows of each table were restored. */
  rows: Record<string, number>
  /** The steps that the backup lacked. */
  applied: string[]
}

/** @param parts of `readBackup`; its errors undo everything @throws BackupError when the backup or the database cannot be used */
export async function restoreBackup(
  database: OpenDatabase,
  parts: AsyncGenerator<BackupPart, void>,
  { keepSessions, report = () => {} }: RestoreOptions,
): Promise<Restored> {
  const first = (await parts.next()).value
  if (first?.kind !== 'head') throw new BackupError('the backup has no head')
  const { head } = first
  await assertUsable(database.db, head)
  await migrateUp(database, { report, steps: upTo(head.schema) })
  const { db, close } = await database.openForMigrations()
  let rows: Record<string, number>
  try {
    // once: the parts cannot be read a second time
    rows = await db.transaction().execute(async (trx) => {
      await setNoTimeLimits(trx)
      return insertAll(trx, parts, keepSessions)
    })
  } finally {
    await close()
  }
  return { head, rows, applied: await migrateUp(database, { report }) }
}

const upTo = (schema: string): Steps => Object.fromEntries(Object.entries(STEPS).filter(([name]) => name <= schema))

/** @throws BackupError */
async function assertUsable(db: Db, { schema, version }: BackupHead): Promise<void> {
  if (!(schema in STEPS))
    throw new BackupError(
      `the backup was made by version ${version} with the step ${schema}, which this version does not know: restore it with that version`,
    )
  const applied = (await migrationStatus(db)).filter(({ executedAt }) => executedAt).map(({ name }) => name)
  if (applied.length === 0) return
  for (const table of WITH_DATA) if (await hasRows(db, table)) throw new BackupError(NOT_EMPTY)
  const later = applied.filter((name) => name > schema)
  if (later.length > 0)
    throw new BackupError(`the database has the schema of a newer version than the backup (${later.join(', ')}): use a new, empty database`)
}

const NOT_EMPTY = 'the database is not empty: restore into a new, empty database, and point the gateway at it'

async function insertAll(
  trx: Transaction,
  parts: AsyncGenerator<BackupPart, void>,
  keepSessions: boolean,
): Promise<Record<string, number>> {
  const addReferences = await dropReferences(trx, WITH_DATA)
  const counts: Record<string, number> = {}
  let table: { name: string; columns: string[] } | null = null
  for await (const part of parts) {
    if (part.kind === 'table') {
      await assertColumns(trx, part.name, part.columns)
      table = OF_SESSIONS.has(part.name) && !keepSessions ? null : part
      if (table) counts[table.name] = 0
    } else if (part.kind === 'rows' && table) {
      await insertRows(trx, table.name, table.columns, part.rows)
      counts[table.name]! += part.rows.length
    }
  }
  await addReferences()
  return counts
}

/** @throws BackupError when the schema has no such table */
async function assertColumns(trx: Transaction, table: string, columns: string[]): Promise<void> {
  const known = await findColumns(trx, table)
  if (!WITH_DATA.includes(table) || columns.some((name) => !known.includes(name)))
    throw new BackupError(`the backup has a table ${table} that its schema does not have: it was not made by portcullis backup`)
}
