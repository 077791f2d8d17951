import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp, migrationStatus } from '../../../src/platform/db/migrate.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { query } from '../../support/postgres.ts'

const STEPS = readdirSync(new URL('../../../migrations', import.meta.url))
  .map((file) => file.replace('.ts', ''))
  .sort()

describe.each(['embedded', 'postgres'])('migrations on %s', (kind) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'portcullis-migrations-'))
  let open: OpenDatabase
  beforeAll(async () => {
    let url = 'embedded'
    if (kind === 'postgres') {
      const name = `migrations_${randomBytes(6).toString('hex')}`
      await query(inject('postgresUrl'), `CREATE DATABASE ${name}`)
      url = inject('postgresUrl').replace(/\/postgres$/, `/${name}`)
    }
    open = await openDatabase({ url, dataDir, poolSize: 2 }, createLogger('silent'))
  })
  afterAll(async () => {
    await open.close()
    rmSync(dataDir, { recursive: true, force: true })
  })

  /** Columns, indexes and constraints of our tables, as text. */
  async function schema(): Promise<string[]> {
    const { rows } = await sql<{ line: string }>`
      SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS line
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'kysely%'
      UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'kysely%'
      UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND conrelid::regclass::text NOT LIKE 'kysely%'
      ORDER BY 1`.execute(open.db)
    return rows.map((r) => r.line)
  }

  it('go up, step by step down to nothing, and up again to the same schema', async () => {
    expect(await migrateUp(open.db)).toEqual(STEPS)
    const whole = await schema()
    expect(whole.some((l) => l.startsWith('refresh_tokens.token_hash bytea'))).toBe(true)
    expect(await migrateUp(open.db)).toEqual([])

    for (const step of STEPS.toReversed()) {
      expect(await migrateDown(open.db)).toEqual([step])
      expect((await migrationStatus(open.db)).find((m) => m.name === step)?.executedAt).toBeUndefined()
    }
    expect(await schema()).toEqual([])
    expect(await migrateDown(open.db)).toEqual([])

    expect(await migrateUp(open.db)).toEqual(STEPS)
    expect(await schema()).toEqual(whole)
    expect((await migrationStatus(open.db)).filter((m) => m.executedAt).map((m) => m.name)).toEqual(STEPS)
  })
})
