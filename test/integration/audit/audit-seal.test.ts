import { randomBytes } from 'node:crypto'
import { CompiledQuery } from 'kysely'
import { describe, expect, it } from 'vitest'
import { readHead } from '../../../src/platform/audit/chain.ts'
import { createAuditRetention } from '../../../src/platform/audit/retention.ts'
import { createSealer, type Sealer } from '../../../src/platform/audit/sealer.ts'
import { inTransaction, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp } from '../../../src/platform/db/migrate.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createSecrets } from '../../../src/platform/vault/secrets.ts'
import { sealAll, verify } from '../../support/audit.ts'
import { login, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'

const CONTEXT = { ip: '192.0.2.7', userAgent: 'Camel/1.0', requestId: 'r-1' }
const recordTo = (gateway: Gateway, event: string, more: object = {}) =>
  inTransaction(gateway.app.platform.db, (trx) =>
    gateway.app.platform.audit.record(trx, { event, outcome: 'success', context: CONTEXT, ...more }),
  )
const batchesOf = (gateway: Gateway) => rows(gateway, 'SELECT number, size, is_adopted, removed_through FROM audit_batches ORDER BY number')
const unsealed = async (gateway: Gateway) =>
  (await rows(gateway, 'SELECT event FROM audit_log WHERE batch IS NULL ORDER BY id')).map((r) => r.event)
const anotherSealer = ({ app: { platform } }: Gateway, more: object = {}): Sealer => createSealer({ ...platform, sealSeconds: 60, ...more })
const numberOf = (head: string | null) => readHead(head!)!.number

describe.each(['embedded', 'postgres'] as const)('sealing on %s', (stores) => {
  const gateway = useGateway({ stores })
  const record = (event: string, more: object = {}) => recordTo(gateway, event, more)

  it('of a new log is intact from the first row on', async () => {
    expect(await verify(gateway)).toMatchObject({ faults: [], head: null, rows: 0 })
    await newUser(gateway)
    expect(await verify(gateway)).toMatchObject({ faults: [], head: null, unsealed: 1 })
    const head = await sealAll(gateway)
    expect(await verify(gateway, { head })).toMatchObject({ faults: [], head, rows: 1, unsealed: 0 })
  })

  it('puts each row into one batch, and chains the batches; an older head stays good', async () => {
    const first = await sealAll(gateway)
    for (let i = 0; i < 5; i++) await record('a')
    const second = await sealAll(gateway)
    await record('b')
    const third = await sealAll(gateway)
    for (const head of [first, second, third]) expect(await verify(gateway, { head })).toMatchObject({ faults: [], head: third })
    expect(await unsealed(gateway)).toEqual([])
  })

  it('seals an empty batch when nothing happened, so that the head is never old', async () => {
    const before = await sealAll(gateway)
    const after = await gateway.app.platform.sealer.seal()
    expect(numberOf(after)).toBe(numberOf(before) + 1)
    expect((await batchesOf(gateway)).at(-1)).toMatchObject({ size: 0 })
    expect(await verify(gateway, { head: before })).toMatchObject({ faults: [], head: after })
  })

  it('logs each head; the metrics show the time and the unsealed rows', async () => {
    await record('noted')
    const head = await sealAll(gateway)
    expect(
      gateway
        .log()
        .filter((l) => l.msg === 'audit_sealed')
        .map((l) => l.head),
    ).toContain(head)
    expect(await metric(gateway, 'portcullis_audit_unsealed_rows')).toBe(0)
    expect(await metric(gateway, 'portcullis_audit_last_sealed_timestamp_seconds')).toBeGreaterThan(Date.now() / 1000 - 60)
  })

  it('takes a backlog in batches of bounded size', async () => {
    await sealAll(gateway)
    const before = (await batchesOf(gateway)).length
    for (let i = 0; i < 10; i++) await record('backlog')
    const sealer = anotherSealer(gateway, { batchSize: 4 })
    await until(async () => (await sealer.seal()) && (await unsealed(gateway)).length === 0, 'the seal')
    const made = (await batchesOf(gateway)).slice(before)
    expect(Math.max(...made.map((b) => b.size))).toBeLessThanOrEqual(4)
    expect(made.reduce((sum, b) => sum + b.size, 0)).toBe(10)
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('leaves no half of a batch when it fails on the way; the next one does its work', async () => {
    const before = await sealAll(gateway)
    await record('survives')
    // what is updated second fails
    await rows(gateway, `ALTER TABLE audit_log ADD CONSTRAINT broken_disk CHECK (event <> 'survives' OR batch IS NULL)`)
    await until(
      () =>
        gateway.app.platform.sealer.seal().then(
          () => false,
          () => true,
        ),
      'the failure',
    )
    const { head } = await verify(gateway, { head: before })
    expect((await rows(gateway, 'SELECT max(number) AS n FROM audit_batches'))[0].n).toBe(numberOf(head))
    expect(await unsealed(gateway)).toEqual(['survives'])
    await rows(gateway, 'ALTER TABLE audit_log DROP CONSTRAINT broken_disk')
    await sealAll(gateway)
    expect(await verify(gateway, { head: before })).toMatchObject({ faults: [], unsealed: 0 })
  })

  it('is not undone by erasing a user: addresses go, the rows stay whole', async () => {
    const { audit, db } = gateway.app.platform
    const user = await newUser(gateway)
    await login(gateway, user)
    await sealAll(gateway)
    await inTransaction(db, (trx) => audit.erase(trx, user.id))
    expect(await verify(gateway)).toMatchObject({ faults: [], erased: 2, unsealed: 1 })
    const head = await sealAll(gateway)
    expect(await verify(gateway, { head })).toMatchObject({ faults: [], erased: 2 })
  })

  it('does nothing when another gateway has just done it', async () => {
    const head = await sealAll(gateway)
    expect(await anotherSealer(gateway).sealWhenDue()).toBe(head)
    expect(await anotherSealer(gateway, { sealSeconds: 0 }).sealWhenDue()).not.toBe(head)
  })
})

describe('sealing beside logins', () => {
  const gateway = useGateway()

  /** A transaction that has written its row and is not over. */
  async function unfinished(event: string) {
    const { db, audit } = gateway.app.platform
    const written = Promise.withResolvers<void>()
    const end = Promise.withResolvers<void>()
    const done = inTransaction(db, async (trx) => {
      await audit.record(trx, { event, outcome: 'success', context: CONTEXT })
      written.resolve()
      await end.promise
    })
    await written.promise
    return async () => {
      end.resolve()
      await done
    }
  }

  it('a row that is committed after a later one was written is sealed later, and never lost', async () => {
    await sealAll(gateway)
    const finish = await unfinished('late')
    await recordTo(gateway, 'early')
    const head = await gateway.app.platform.sealer.seal()
    expect(await rows(gateway, `SELECT event FROM audit_log WHERE event IN ('late', 'early') AND batch IS NOT NULL`)).toEqual([])
    await finish()
    await sealAll(gateway)
    expect(await rows(gateway, `SELECT event FROM audit_log WHERE event IN ('late', 'early') AND batch IS NOT NULL`)).toHaveLength(2)
    expect((await verify(gateway, { head: head! })).faults).toEqual([])
  })

  it('logins wait neither for one another nor for a sealer in the middle of its work', async () => {
    const user = await newUser(gateway)
    await sealAll(gateway)
    const finish = await unfinished('slow login')
    const { db } = gateway.app.platform
    // as the sealer does: its lock, the rows, the batch; and there it stays
    const sealing = Promise.withResolvers<void>()
    const isSealing = Promise.withResolvers<void>()
    const stuck = inTransaction(db, async (trx) => {
      for (const text of [
        'SELECT pg_advisory_xact_lock(7610004)',
        'UPDATE audit_log SET batch = 999 WHERE batch IS NOT NULL',
        `INSERT INTO audit_batches SELECT 999, previous, sealed_at, size, root, is_adopted, removed_through, head, mac FROM audit_batches LIMIT 1`,
      ])
        await trx.executeQuery(CompiledQuery.raw(text))
      isSealing.resolve()
      await sealing.promise
      throw new Error('rolled back')
    })
    await isSealing.promise
    await Promise.all(Array.from({ length: 8 }, () => login(gateway, user)))
    expect(await rows(gateway, `SELECT id FROM audit_log WHERE event = 'login' AND user_id = $1`, [user.id])).toHaveLength(8)
    sealing.resolve()
    await expect(stuck).rejects.toThrow('rolled back')
    await finish()
    await sealAll(gateway)
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('two at once make one chain, and seal each row once', async () => {
    const before = (await batchesOf(gateway)).reduce((sum, b) => sum + b.size, 0)
    const sealers = Array.from({ length: 4 }, () => anotherSealer(gateway, { batchSize: 3 }))
    const writing = Promise.all(Array.from({ length: 30 }, () => recordTo(gateway, 'parallel')))
    await Promise.all(sealers.flatMap((s) => [s.seal(), s.seal()]))
    await writing
    await sealAll(gateway)
    expect((await batchesOf(gateway)).reduce((sum, b) => sum + b.size, 0)).toBe(before + 30)
    expect(await verify(gateway)).toMatchObject({ faults: [], unsealed: 0 })
  })

  it('verification sees one instant, while rows are written, sealed and removed', async () => {
    const { platform } = gateway.app
    const remove = createAuditRetention({ ...platform, retentionDays: 1e-9 })
    let isOver = false
    const busy = (async () => {
      for (let i = 0; !isOver; i++) {
        await recordTo(gateway, 'busy')
        await platform.sealer.seal()
        if (i % 3 === 0) await remove(platform.db, 2)
      }
    })()
    for (let i = 0; i < 10; i++) expect((await verify(gateway, { pageSize: 2 })).faults).toEqual([])
    isOver = true
    await busy
    const { faults, removedThrough } = await verify(gateway)
    expect([faults, removedThrough > 0]).toEqual([[], true])
  })

  it('seals rows that a restored copy brought from a server that counted further', async () => {
    await recordTo(gateway, 'restored')
    await rows(gateway, `UPDATE audit_log SET xid = (pg_current_xact_id()::text::bigint + 1000000)::text::xid8 WHERE event = 'restored'`)
    await sealAll(gateway)
    expect((await verify(gateway)).faults).toEqual([])
  })
})

describe.each(['embedded', 'postgres'] as const)('a gateway on %s', (stores) => {
  const gateway = useGateway({ stores, config: { auth: { audit: { sealSeconds: 1 } } } })

  it('seals by itself', async () => {
    await newUser(gateway)
    await until(async () => (await unsealed(gateway)).length === 0, 'the seal')
    await until(() => gateway.log().filter((l) => l.msg === 'audit_sealed').length > 1, 'the next one')
    expect((await verify(gateway)).faults).toEqual([])
  })
})

describe('a changed secret key', () => {
  const [first, second, third] = [randomBytes(32), randomBytes(32), randomBytes(32)]
  const text = (key: Buffer) => key.toString('base64')

  it('leaves what was sealed under the previous one good, and under the one before that, too', async () => {
    const gateway = await startGateway({ secretKey: text(first) })
    await newUser(gateway)
    const oldHead = await sealAll(gateway)
    const { databaseUrl } = gateway
    await newUser(gateway) // written under the old key, sealed under the new one
    await gateway.close()

    const rotated = await startGateway({ databaseUrl, secretKey: text(second), env: { PORTCULLIS_SECRET_KEY_PREVIOUS: text(first) } })
    await newUser(rotated)
    await sealAll(rotated)
    expect(await verify(rotated, { head: oldHead })).toMatchObject({ faults: [], rows: 3 })
    await rotated.close()

    const twice = await startGateway({ databaseUrl, secretKey: text(third), env: { PORTCULLIS_SECRET_KEY_PREVIOUS: text(second) } })
    await sealAll(twice)
    expect(await verify(twice, { head: oldHead })).toMatchObject({ faults: [], rows: 3 })

    // nobody holds the first key any more, and what it vouched for is held by the chain
    await rows(twice, `UPDATE audit_log SET outcome = 'nothing' WHERE batch = 1`)
    expect((await verify(twice)).faults).toEqual([
      expect.stringMatching(/^changed row: in batch 1, .* which row is unknown, because 1 have a MAC under another/),
    ])
    await twice.close()
  })

  it('that is missing is reported, and a gateway without it seals nothing', async () => {
    const gateway = await startGateway()
    await newUser(gateway)
    const head = await sealAll(gateway)
    const secrets = createSecrets(randomBytes(32))
    expect((await verify(gateway, { secrets })).faults).toEqual([expect.stringMatching(/^unknown key: the newest batch/)])
    expect(await anotherSealer(gateway, { secrets }).seal()).toBeNull()
    expect(gateway.log().find((l) => l.reason === 'audit_chain_broken')?.cause).toContain('PORTCULLIS_SECRET_KEY_PREVIOUS')
    expect((await verify(gateway)).head).toBe(head)
    await gateway.close()
  })
})

describe('rows from before there were MACs', () => {
  const MACLESS = `INSERT INTO audit_log (id, event, outcome, ip) VALUES (gen_random_uuid(), $1, 'success', '192.0.2.9')`

  /** The log as it was before migration 0010, with rows in it; then brought up to date. */
  async function upgraded(events: string[]): Promise<Gateway> {
    const gateway = await startGateway()
    const { databaseUrl, secretKey } = gateway
    await gateway.close()
    const database = await openDatabase({ url: databaseUrl, dataDir: '', poolSize: 1 }, createLogger('silent'))
    await migrateDown(database, { to: '0009-keys-and-clients' })
    for (const event of events) await query(databaseUrl, MACLESS, [event])
    await migrateUp(database)
    await database.close()
    return startGateway({ databaseUrl, secretKey })
  }

  it('survive, are sealed as they are, and are read like any other', async () => {
    const gateway = await upgraded(['old 1', 'old 2', 'old 3'])
    expect(await verify(gateway)).toMatchObject({ faults: [], unsealed: 3 })
    await recordTo(gateway, 'new')
    const sealer = anotherSealer(gateway, { batchSize: 2 })
    await until(async () => (await sealer.seal()) && (await unsealed(gateway)).length === 0, 'the seal')
    expect(await verify(gateway)).toMatchObject({ faults: [], rows: 4, unsealed: 0 })
    const sizes = (await batchesOf(gateway)).map((b) => `${b.is_adopted} ${b.size}`)
    expect(sizes.slice(0, 2)).toEqual(['true 2', 'true 1'])
    expect(sizes.slice(2).every((s) => s.startsWith('false'))).toBe(true)
    expect(await rows(gateway, `SELECT ip FROM audit_log JOIN audit_personal ON event_id = id WHERE event = 'old 2'`)).toEqual([
      { ip: '192.0.2.9' },
    ])

    await rows(gateway, `UPDATE audit_log SET outcome = 'failed' WHERE event = 'old 2'`)
    expect((await verify(gateway)).faults).toEqual([expect.stringMatching(/^changed row: in batch \d, sealed at .*before rows had MACs/)])
    await gateway.close()
  })

  it('cannot be slipped in afterwards', async () => {
    const gateway = await upgraded(['old'])
    await sealAll(gateway)
    await sealAll(gateway)
    await rows(gateway, `INSERT INTO audit_log (id, at, event, outcome) VALUES (gen_random_uuid(), now(), 'slipped in', 'success')`)
    await until(async () => {
      await gateway.app.platform.sealer.seal()
      return gateway.log().find((l) => l.reason === 'audit_row_forged')
    }, 'the refusal')
    expect(await unsealed(gateway)).toEqual(['slipped in'])
    expect((await verify(gateway)).faults).toEqual([expect.stringMatching(/^inserted row: .* not sealed yet: no gateway wrote it/)])
    // an intruder who removes it leaves no trace in the rows
    await rows(gateway, `DELETE FROM audit_log WHERE event = 'slipped in'`)
    expect((await verify(gateway)).faults).toEqual([])
    await gateway.close()
  })
})
