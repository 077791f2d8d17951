import { sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { isDatabaseAway, isTimeout, type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createDatabase } from '../../support/postgres.ts'
import { type Relay, startRelay } from '../../support/relay.ts'

let relay: Relay
let database: OpenDatabase
beforeAll(async () => {
  const url = await createDatabase(inject('postgresUrl'))
  relay = await startRelay(Number(new URL(url).port))
  database = await openDatabase({ url: relay.through(url), dataDir: '', poolSize: 2 }, createLogger('silent'))
})
afterAll(async () => {
  await relay.close()
  await database.close()
})

const poll = () => sql`SELECT 1 AS one`.execute(database.polling)

it('a poll that gets no answer ends after its deadline, and the next poll has a new connection', async () => {
  expect((await poll()).rows).toEqual([{ one: 1 }])
  relay.vanish()
  const error = await poll().catch((e: unknown) => e)
  expect(isDatabaseAway(error)).toBe(true)
  expect(isTimeout(error)).toBe(true)
  relay.mend()
  expect((await poll()).rows).toEqual([{ one: 1 }])
})
