/** Data folders of the embedded database. Creating a database takes seconds; a copy of a migrated database is fast. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { inject } from 'vitest'
import { openDatabase } from '../../src/platform/db/database.ts'
import { migrateUp } from '../../src/platform/db/migrate.ts'
import { createLogger } from '../../src/platform/telemetry/logger.ts'

/** Makes a migrated folder at this path, which is not there yet: as createDatabase does on Postgres. */
export async function createDataDir(dataDir: string): Promise<void> {
  const template = inject('embeddedTemplate')
  if (!existsSync(template)) await makeTemplate(template)
  mkdirSync(dirname(dataDir), { recursive: true })
  cpSync(template, dataDir, { recursive: true })
}

async function makeTemplate(path: string): Promise<void> {
  const made = mkdtempSync(`${path}-`)
  const database = await openDatabase({ url: 'embedded', dataDir: made, poolSize: 1 }, createLogger('silent'))
  await migrateUp(database)
  await database.close()
  try {
    renameSync(made, path)
  } catch (error) {
    // another worker was first
    if (!existsSync(path)) throw error
    rmSync(made, { recursive: true })
  }
}
