import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isDatabaseAway, type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { query, startPostgresPair } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'

type Pair = Awaited<ReturnType<typeof startPostgresPair>>

const lines: Record<string, unknown>[] = []
const logged = (reason: string) => lines.filter((line) => line.reason === reason)
const logger = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) })
const portOf = async (database: OpenDatabase) =>
  (await sql<{ port: number }>`SELECT inet_server_port() AS port`.execute(database.db)).rows[0]!.port
const write = (database: OpenDatabase, n: number) => sql`INSERT INTO seen (n) VALUES (${n})`.execute(database.db)

describe('a URL with two hosts', () => {
  let pair: Pair
  let database: OpenDatabase
  let changes = 0
  beforeAll(async () => {
    pair = await startPostgresPair()
    await query(pair.primary.url, 'CREATE TABLE seen (n int)')
    await until(() => query(pair.standby.url, 'SELECT n FROM seen').then(() => true), 'the table on the standby')
    // the standby stands first in the list
    const url = `postgres://postgres@127.0.0.1:${pair.standby.port},127.0.0.1:${pair.primary.port}/postgres`
    database = await openDatabase({ url, dataDir: '', poolSize: 3 }, logger)
    database.onPrimaryChange(() => {
      changes++
    })
  })
  afterAll(async () => {
    await database.close()
    await pair.stop()
  })

  it('uses the host that accepts writes', async () => {
    expect(await portOf(database)).toBe(pair.primary.port)
    await write(database, 1)
    expect(changes).toBe(0)
    await until(async () => (await query(pair.standby.url, 'SELECT n FROM seen')).length === 1, 'the row on the standby')
  })

  it('follows to the promoted standby without a restart, and reports the change', async () => {
    await pair.primary.kill()
    const error = await write(database, 2).catch((e: unknown) => e)
    expect(isDatabaseAway(error)).toBe(true)
    await until(() => database.isBreakerOpen(), 'an open breaker')
    expect(String(logged('db_breaker_open')[0]!.cause)).toMatch(/is a standby and accepts no writes; .*ECONNREFUSED/)
    await pair.standby.promote()
    await until(() => write(database, 3).then(() => true), 'a write')
    expect(await portOf(database)).toBe(pair.standby.port)
    expect(changes).toBe(1)
    expect(logged('db_primary_changed')).toMatchObject([{ host: `127.0.0.1:${pair.standby.port}`, timeline: 2 }])
  })

  it('refuses the old primary when it comes back on its old timeline', async () => {
    await pair.primary.restart()
    expect(await query(pair.primary.url, 'SELECT pg_is_in_recovery() AS standby')).toEqual([{ standby: false }])
    await until(() => logged('db_server_refused').length > 0, 'a refusal')
    expect(logged('db_server_refused')).toMatchObject([
      { host: `127.0.0.1:${pair.primary.port}`, cause: 'is on timeline 1, which timeline 2 has replaced' },
    ])
    expect(await portOf(database)).toBe(pair.standby.port)
  })
})
