/** Writes a backup: one snapshot of the database. Requests go on meanwhile; on the embedded database they wait. */
import { findHead } from '../audit/batches.repo.ts'
import { headText } from '../audit/chain.ts'
import { type Db, databaseNow, inSnapshot, type OpenDatabase, type Transaction } from '../db/database.ts'
import { migrationStatus } from '../db/migrate.ts'
import { VERSION } from '../lib/version.ts'
import type { Secrets } from '../vault/secrets.ts'
import { findColumns, readRows, setNoTimeLimits } from './backup.repo.ts'
import { BackupError, type BackupHead, createSeal, FORMAT } from './format.ts'
import { BACKED_UP } from './table-rules.ts'

export interface WriteDeps {
  database: OpenDatabase
  secrets: Secrets
  /** @returns what is sealed with the secret key of the database; undefined when it was never used @throws WrongSecretKey */
  readCanary(db: Db): Promise<string | undefined>
}

/**
 * @param write gets the lines, one after the other
 * @returns the head and the number of rows
 * @throws BackupError when the schema is not the schema of this program @throws WrongSecretKey
 */
export async function writeBackup(
  { database, secrets, readCanary }: WriteDeps,
  write: (text: string) => Promise<void>,
): Promise<{ head: BackupHead; rows: number }> {
  const seal = createSeal(secrets)
  // the one connection of the embedded database must not wait for a slow reader
  const collected: string[] | null = database.kind === 'embedded' ? [] : null
  const add = async (text: string, rows = 0) => {
    seal.add(text, rows)
    if (collected) collected.push(text)
    else await write(text)
  }
  const { db, close } = await database.openForMigrations()
  try {
    const head = await inSnapshot(db, async (trx) => {
      await setNoTimeLimits(trx)
      const head = await headOf(trx, readCanary)
      await add(`${JSON.stringify(head)}\n`)
      for (const table of BACKED_UP) {
        const columns = await findColumns(trx, table)
        await add(`${JSON.stringify([table, columns])}\n`)
        for await (const rows of readRows(trx, table, columns)) await add(rows.map((row) => `${row}\n`).join(''), rows.length)
      }
      return head
    })
    for (const text of collected ?? []) await write(text)
    await write(seal.line())
    return { head, rows: seal.rows() }
  } finally {
    await close()
  }
}

async function headOf(trx: Transaction, readCanary: WriteDeps['readCanary']): Promise<BackupHead> {
  const schema = await findSchema(trx)
  const canary = await readCanary(trx)
  if (canary === undefined) throw new BackupError('the database was never used: there is nothing to back up')
  const sealed = await findHead(trx)
  return {
    portcullis_backup: FORMAT,
    version: VERSION,
    schema,
    created_at: (await databaseNow(trx)).toISOString(),
    secret_key_id: canary.split('.')[1]!,
    audit_head: sealed ? headText(sealed) : null,
  }
}

/** @throws BackupError */
async function findSchema(db: Db): Promise<string> {
  const status = await migrationStatus(db)
  const namesOf = (steps: typeof status) => steps.map(({ name }) => name).join(', ')
  const newer = status.filter(({ isKnown }) => !isKnown)
  if (newer.length > 0)
    throw new BackupError(`a newer version has migrated this database (${namesOf(newer)}): make the backup with the version of the gateway`)
  const missing = status.filter(({ executedAt }) => !executedAt)
  if (missing.length === status.length) throw new BackupError('the database is empty: there is nothing to back up')
  if (missing.length > 0)
    throw new BackupError(
      `the database lacks ${namesOf(missing)}: make the backup with the version of the gateway, or run portcullis migrate up first`,
    )
  return status.at(-1)!.name
}
