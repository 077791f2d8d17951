import type { Migration, MigrationInfo, MigrationResultSet } from 'kysely/migration'
import { Migrator } from 'kysely/migration'
import * as accounts from '../../../migrations/0001-accounts.ts'
import * as keys from '../../../migrations/0002-keys.ts'
import * as revocations from '../../../migrations/0003-revocations.ts'
import * as audit from '../../../migrations/0004-audit.ts'
import * as limitCounters from '../../../migrations/0005-limit-counters.ts'
import * as secondFactor from '../../../migrations/0006-second-factor.ts'
import * as recovery from '../../../migrations/0007-recovery.ts'
import * as devices from '../../../migrations/0008-devices.ts'
import * as keysAndClients from '../../../migrations/0009-keys-and-clients.ts'
import * as auditSeal from '../../../migrations/0010-audit-seal.ts'
import * as keyRevocation from '../../../migrations/0013-key-revocation.ts'
import * as usernamesAndMetadata from '../../../migrations/0015-usernames-and-metadata.ts'
import type { Db } from './database.ts'

/** In the order of their names. A released migration never changes. */
const MIGRATIONS: Record<string, Migration> = {
  '0001-accounts': accounts,
  '0002-keys': keys,
  '0003-revocations': revocations,
  '0004-audit': audit,
  '0005-limit-counters': limitCounters,
  '0006-second-factor': secondFactor,
  '0007-recovery': recovery,
  '0008-devices': devices,
  '0009-keys-and-clients': keysAndClients,
  '0010-audit-seal': auditSeal,
  '0013-key-revocation': keyRevocation,
  '0015-usernames-and-metadata': usernamesAndMetadata,
}

const migrator = (db: Db) => new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } })

/** Applies all missing migrations. Kysely's lock lets only one process do so at a time. @returns the names of the applied steps */
export const migrateUp = async (db: Db): Promise<string[]> => appliedSteps(await migrator(db).migrateToLatest())

/** Reverts the newest step. @returns its name */
export const migrateDown = async (db: Db): Promise<string[]> => appliedSteps(await migrator(db).migrateDown())

export const migrationStatus = (db: Db): Promise<readonly MigrationInfo[]> => migrator(db).getMigrations()

function appliedSteps({ error, results }: MigrationResultSet): string[] {
  if (error) throw error
  return (results ?? []).map((r) => r.migrationName)
}
