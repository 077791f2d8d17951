import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findAuditPage } from '../../../src/platform/audit/pages.repo.ts'
import { createAuditRetention } from '../../../src/platform/audit/retention.ts'
import { age, sealAll, verify } from '../../support/audit.ts'
import { login, newUser } from '../../support/client.ts'
import { type Gateway, type GatewayOptions, metric, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'

let gateway: Gateway
afterEach(() => gateway.close())
const start = async (options: GatewayOptions = {}) => {
  gateway = await startGateway({ config: { auth: { audit: { retentionDays: 30 } }, database: { poolSize: 1 } }, ...options })
}
const sql = (text: string, values?: unknown[]) => rows(gateway, text, values)
const events = async () =>
  (await findAuditPage(gateway.app.platform.db, { limit: 100 })).events.map((e) => `${e.event} ${e.detail ?? ''}`.trim())
const numbers = async () => (await sql('SELECT number FROM audit_batches ORDER BY number')).map((b) => b.number)

/** Batches with a registration in the first one, a login in each of the others, the first `old` of which are older than rows are kept. */
async function log(count: number, old: number): Promise<string[]> {
  const user = await newUser(gateway)
  const heads = [await sealAll(gateway)]
  while (heads.length < count) {
    await login(gateway, user)
    heads.push(await sealAll(gateway))
  }
  if (old > 0) await age(gateway, heads[old - 1]!, 31)
  return (await sql('SELECT number, head FROM audit_batches ORDER BY number')).map((b) => `${b.number}:${b.head}`)
}

describe.each(['embedded', 'postgres'] as const)('cleanup of the audit log on %s', (stores) => {
  beforeEach(() => start({ stores }))

  it('removes old batches with their rows and what lies beside them, says so, and the rest is intact', async () => {
    const heads = await log(4, 2)
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 2 })
    expect(await events()).toEqual(['audit_retention 2 rows, up to batch 2', 'login', 'login'])
    expect(await sql('SELECT event_id FROM audit_personal')).toHaveLength(2)
    expect(await numbers()).toEqual([3, 4, 5])
    for (const head of heads.slice(1)) expect(await verify(gateway, { head })).toMatchObject({ faults: [], removedThrough: 2 })
    expect((await verify(gateway, { head: heads[0]! })).faults).toEqual([
      'head not found: batch 1 was removed by retention: use a newer head',
    ])
    expect(await metric(gateway, 'portcullis_cleanup_deleted_total', { kind: 'audit_rows' })).toBe(2)

    await age(gateway, await sealAll(gateway), 31)
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 3 })
    expect(await events()).toEqual(['audit_retention 3 rows, up to batch 6'])
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('goes on with the chain when everything is old', async () => {
    const heads = await log(3, 3)
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 3 })
    expect(await verify(gateway, { head: heads[2]! })).toMatchObject({ faults: [], removedThrough: 3 })
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 0 })
    await sealAll(gateway)
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('works in batches until nothing is left', async () => {
    const { platform } = gateway.app
    const remove = createAuditRetention({ ...platform, retentionDays: 30 })
    await log(9, 8)
    expect(await remove(platform.db, 3)).toBe(8)
    expect(await events()).toEqual(
      ['2 rows, up to batch 8', '3 rows, up to batch 6', '3 rows, up to batch 3'].map((d) => `audit_retention ${d}`).concat('login'),
    )
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('removes nothing when it cannot say so', async () => {
    await log(4, 2)
    const before = [await events(), await numbers()]
    await sql('ALTER TABLE audit_batches ADD CONSTRAINT full_disk CHECK (removed_through = 0)')
    await expect(gateway.app.identity.cleanup()).rejects.toThrow('full_disk')
    expect([await events(), await numbers()]).toEqual(before)
    expect((await verify(gateway)).faults).toEqual([])
    await sql('ALTER TABLE audit_batches DROP CONSTRAINT full_disk')
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 2 })
  })
})

describe('after a lawful removal', () => {
  beforeEach(async () => {
    await start()
    await log(5, 2)
    await gateway.app.identity.cleanup()
    await sealAll(gateway)
    expect((await verify(gateway)).faults).toEqual([])
  })

  it('one more row that is deleted by hand is found', async () => {
    await sql('DELETE FROM audit_log WHERE batch = 3')
    expect((await verify(gateway)).faults).toEqual([expect.stringMatching(/^missing row: 1 of 1 of batch 3, sealed at /)])
  })

  it('one more batch that is deleted by hand, with its rows, is found', async () => {
    await sql('DELETE FROM audit_log WHERE batch <= 3')
    await sql('DELETE FROM audit_batches WHERE number <= 3')
    expect((await verify(gateway)).faults).toEqual(['missing batch: 3'])
    // and a removal that is only claimed
    await sql('UPDATE audit_batches SET removed_through = 3 WHERE number = (SELECT max(number) FROM audit_batches)')
    expect((await verify(gateway)).faults).toEqual([expect.stringMatching(/^changed batch/)])
  })

  it('rows and batches that are put in the place of removed ones are found', async () => {
    const head = (await verify(gateway)).head!
    await sql(`INSERT INTO audit_log (id, at, event, outcome, batch) VALUES (gen_random_uuid(), now(), 'login', 'success', 1)`)
    expect((await verify(gateway)).faults).toEqual(['inserted row: 1 in batch 1, which was removed as a whole'])
    await sql(
      'INSERT INTO audit_batches SELECT 2, previous, sealed_at, size, root, is_adopted, removed_through, head, mac FROM audit_batches WHERE number = 3',
    )
    expect((await verify(gateway, { head })).faults).toContain('inserted batch: 2: the first batch kept is 3')
  })
})

describe('with retentionDays: 0', () => {
  it('rows are kept for ever', async () => {
    await start({ config: { auth: { audit: { retentionDays: 0 } } } })
    await age(gateway, (await log(2, 0)).at(-1)!, 36_000)
    expect(await gateway.app.identity.cleanup()).toMatchObject({ auditRows: 0 })
    expect(await events()).toEqual(['login', 'register'])
  })
})
