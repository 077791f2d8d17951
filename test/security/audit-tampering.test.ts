/** Somebody who may write to the database, and has no secret key, works on the audit log. */
import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { readHead } from '../../src/platform/audit/chain.ts'
import { createAuditRetention } from '../../src/platform/audit/retention.ts'
import { createSealer } from '../../src/platform/audit/sealer.ts'
import { inTransaction } from '../../src/platform/db/database.ts'
import { createSecrets } from '../../src/platform/vault/secrets.ts'
import { sealAll, verify } from '../support/audit.ts'
import { newUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { rows } from '../support/rows.ts'

const TABLES = ['audit_batches', 'audit_log', 'audit_personal']

describe('audit verify', () => {
  let gateway: Gateway
  /** After each of the batches that hold something. */
  const heads: string[] = []
  let user: { id: string }
  beforeAll(async () => {
    gateway = await startGateway()
    const newcomer = await newUser(gateway)
    user = newcomer
    await sealAll(gateway)
    for (let batch = 0; batch < 3; batch++) {
      for (let i = 0; i < 4; i++) await record(`b${batch}`, { detail: `${i}`, userId: newcomer.id })
      heads.push(await sealAll(gateway))
    }
    await record('waiting')
    for (const table of TABLES) await rows(gateway, `CREATE TABLE kept_${table} AS TABLE ${table}`)
  })
  afterAll(() => gateway.close())
  beforeEach(async () => {
    expect((await verify(gateway, { head: heads.at(-1)! })).faults).toEqual([])
  })
  afterEach(async () => {
    await rows(gateway, `TRUNCATE ${TABLES.join(', ')}`)
    for (const table of TABLES) await rows(gateway, `INSERT INTO ${table} SELECT * FROM kept_${table}`)
  })

  const record = (event: string, more: object = {}) => {
    const { db, audit } = gateway.app.platform
    const context = { ip: '192.0.2.7', userAgent: 'Camel/1.0', requestId: 'r-1' }
    return inTransaction(db, (trx) => audit.record(trx, { event, outcome: 'success', context, ...more }))
  }
  const sql = (text: string, values?: unknown[]) => rows(gateway, text, values)
  const faults = async (head?: string) => (await verify(gateway, head ? { head } : {})).faults
  const idOf = async (event: string, detail: string) =>
    (await sql('SELECT id FROM audit_log WHERE event = $1 AND detail = $2', [event, detail]))[0].id
  const numberOf = (i: number) => readHead(heads.at(i)!)!.number

  describe('names the row when', () => {
    it.each([
      ['its time', `at = at + interval '1 ms'`],
      ['its event', `event = 'logout'`],
      ['its outcome', `outcome = 'invalid_credentials'`],
      ['its user', 'user_id = gen_random_uuid()'],
      ['its user, to nobody,', 'user_id = NULL'],
      ['its session', 'session_id = gen_random_uuid()'],
      ['its actor', `actor = 'user:somebody else'`],
      ['its detail', `detail = 'something else'`],
      ['its request id', `request_id = 'r-2'`],
      ['its bond to personal data', `personal = repeat('0', 64)`],
      ['its MAC', `mac = left(mac, -2) || 'AA'`],
      ['its MAC, to none,', 'mac = NULL'],
    ])('%s is changed', async (_, change) => {
      const id = await idOf('b1', '2')
      await sql(`UPDATE audit_log SET ${change} WHERE id = $1`, [id])
      expect(await faults()).toContainEqual(expect.stringMatching(new RegExp(`^changed row: ${id} in batch ${numberOf(1)}, sealed at `)))
    })

    it('its MAC is said to be of a key that is gone', async () => {
      await sql(
        `UPDATE audit_log SET outcome = 'failed', mac = 'ffffffffffff.' || split_part(mac, '.', 2) WHERE event = 'b1' AND detail = '2'`,
      )
      expect(await faults()).toEqual([expect.stringMatching(/^changed row: in batch .* 1 have a MAC under another secret key/)])
    })

    it('two rows change places, with all that they hold but their ids', async () => {
      const [a, b] = [await idOf('b1', '0'), await idOf('b1', '3')]
      await sql('UPDATE audit_log SET id = gen_random_uuid() WHERE id = $1 RETURNING id', [a]).catch(() => undefined)
      await sql('ALTER TABLE audit_personal DROP CONSTRAINT audit_personal_event_id_fkey')
      const between = '00000000-0000-4000-8000-000000000000'
      for (const [from, to] of [
        [a, between],
        [b, a],
        [between, b],
      ])
        await sql('UPDATE audit_log SET id = $2 WHERE id = $1', [from, to])
      expect(await faults()).toEqual(expect.arrayContaining([a, b].map((id) => expect.stringContaining(`changed row: ${id}`))))
      await sql('DELETE FROM audit_personal')
      await sql(
        'ALTER TABLE audit_personal ADD CONSTRAINT audit_personal_event_id_fkey FOREIGN KEY (event_id) REFERENCES audit_log ON DELETE CASCADE',
      )
    })

    it('a row that is not sealed yet is changed', async () => {
      await sql(`UPDATE audit_log SET outcome = 'failed' WHERE event = 'waiting'`)
      expect(await faults()).toEqual([
        expect.stringMatching(/^inserted row: .*, not sealed yet: no gateway wrote it, or it was changed since$/),
      ])
    })

    it('one is put in, unsealed: without a MAC, with one of another row, with one under an unknown key', async () => {
      const insert = (mac: string) =>
        sql(`INSERT INTO audit_log (id, at, event, outcome, mac) SELECT gen_random_uuid(), now(), 'role_grant', 'success', ${mac}`)
      await insert('NULL')
      await insert(`(SELECT mac FROM audit_log WHERE event = 'waiting')`)
      await insert(`'ffffffffffff.AAAA'`)
      expect((await faults()).map((f) => f.split(':')[0])).toEqual(['inserted row', 'inserted row', 'inserted row'])
    })

    it('one is put into a sealed batch', async () => {
      await sql(
        `INSERT INTO audit_log (id, at, event, outcome, batch, mac)
         SELECT '00000000-0000-4000-8000-000000000000', at, event, outcome, batch, mac FROM audit_log WHERE event = 'b1' AND detail = '0'`,
      )
      expect(await faults()).toEqual([expect.stringMatching(/^inserted row: 00000000-0000-4000-8000-000000000000 in batch/)])
    })
  })

  describe('reports', () => {
    it('a row that is missing, first, last or in the middle', async () => {
      for (const detail of ['0', '3', '1']) await sql(`DELETE FROM audit_log WHERE event = 'b1' AND detail = $1`, [detail])
      expect(await faults()).toEqual([expect.stringMatching(new RegExp(`^missing row: 3 of 4 of batch ${numberOf(1)}, sealed at `))])
    })

    it('a row that was taken out of its batch and left to be sealed again', async () => {
      await sql(`UPDATE audit_log SET batch = NULL WHERE event = 'b0' AND detail = '1'`)
      expect(await faults()).toEqual([expect.stringMatching(/^missing row: 1 of 4/)])
    })

    it('a row that was replaced by a good one of another batch', async () => {
      const [a, b] = [numberOf(0), numberOf(1)]
      await sql(`UPDATE audit_log SET batch = $1 WHERE event = 'b1' AND detail = '0'`, [a])
      expect(await faults()).toEqual([
        expect.stringMatching(new RegExp(`^inserted row: 1 too many in batch ${a}`)),
        expect.stringMatching(new RegExp(`^missing row: 1 of 4 of batch ${b}`)),
      ])
    })

    it('rows that changed places between batches', async () => {
      const [a, b] = [numberOf(0), numberOf(1)]
      await sql(
        `UPDATE audit_log SET batch = CASE batch WHEN $1::int THEN $2::int ELSE $1::int END WHERE event IN ('b0', 'b1') AND detail = '0'`,
        [a, b],
      )
      expect((await faults()).map((f) => f.split(',')[0])).toEqual([a, b].map((n) => `reordered rows: the rows in batch ${n}`))
    })

    it('a batch that was changed, by its field', async () => {
      for (const change of [
        `sealed_at = sealed_at - interval '1 hour'`,
        'size = size - 1',
        `root = repeat('0', 64)`,
        'removed_through = 1',
        'is_adopted = NOT is_adopted',
        `previous = repeat('0', 64)`,
      ]) {
        await sql(`UPDATE audit_batches SET ${change} WHERE number = $1`, [numberOf(1)])
        expect(await faults()).toContain(`changed batch: ${numberOf(1)}`)
        await sql(`DELETE FROM audit_batches`)
        await sql('INSERT INTO audit_batches SELECT * FROM kept_audit_batches')
      }
    })

    it('a forged MAC, and a MAC that names a removed key', async () => {
      await sql(`UPDATE audit_batches SET mac = left(mac, -2) || 'AA' WHERE number = $1`, [numberOf(1)])
      expect(await faults()).toEqual([`forged MAC: of batch ${numberOf(1)}`])
      await sql(`UPDATE audit_batches SET mac = 'ffffffffffff.AAAA' WHERE number = $1`, [numberOf(2)])
      expect(await faults()).toContainEqual(expect.stringMatching(/^unknown key: the newest batch/))
    })

    it('a batch that is missing, with its rows or without', async () => {
      await sql('DELETE FROM audit_batches WHERE number = $1', [numberOf(1)])
      expect(await faults()).toEqual([`missing batch: ${numberOf(1)}`])
      await sql('DELETE FROM audit_log WHERE batch = $1', [numberOf(1)])
      expect(await faults()).toEqual([`missing batch: ${numberOf(1)}`])
    })

    it('the beginning that is cut off', async () => {
      await sql('DELETE FROM audit_log WHERE batch <= $1', [numberOf(0)])
      await sql('DELETE FROM audit_batches WHERE number <= $1', [numberOf(0)])
      expect((await faults())[0]).toBe(numberOf(0) === 1 ? 'missing batch: 1' : `missing batch: 1 to ${numberOf(0)}`)
    })

    it('batches whose numbers were moved up to close a gap', async () => {
      await sql('DELETE FROM audit_log WHERE batch = $1', [numberOf(1)])
      await sql('DELETE FROM audit_batches WHERE number = $1', [numberOf(1)])
      for (const [table, column] of [
        ['audit_log', 'batch'],
        ['audit_batches', 'number'],
      ])
        await sql(`UPDATE ${table} SET ${column} = ${column} - 1 WHERE ${column} > $1`, [numberOf(1)])
      const found = await faults()
      expect(found).toContain(`changed batch: ${numberOf(1)}`)
      expect(found).toContain(`broken chain: batch ${numberOf(1)} does not follow batch ${numberOf(1) - 1}`)
    })

    it('the newest batch that is gone while its rows are there', async () => {
      await sql('DELETE FROM audit_batches WHERE number = $1', [numberOf(2)])
      expect(await faults()).toEqual([`cut off end: batch ${numberOf(2)} is gone, 4 of its rows are there`])
    })

    it('a head that is gone: the end was cut off, or the last batch opened again', async () => {
      await sql('UPDATE audit_log SET batch = NULL WHERE batch = $1', [numberOf(2)])
      await sql('DELETE FROM audit_batches WHERE number = $1', [numberOf(2)])
      expect(await faults(heads[1])).toEqual([])
      expect(await faults(heads[2])).toEqual([
        `cut off end: batch ${numberOf(2)} of that head is gone, the newest batch is ${numberOf(2) - 1}`,
      ])
      await sql('DELETE FROM audit_log')
      await sql('DELETE FROM audit_batches')
      expect(await faults(heads[2])).toEqual([`cut off end: batch ${numberOf(2)} of that head is gone, the newest batch is none`])
    })

    it('an older batch, with its good MAC, in the place of the newest', async () => {
      await sql('DELETE FROM audit_log WHERE batch = $1', [numberOf(2)])
      await sql('DELETE FROM audit_batches WHERE number = $1', [numberOf(2)])
      await sql(
        'INSERT INTO audit_batches SELECT $1::int, previous, sealed_at, size, root, is_adopted, removed_through, head, mac FROM audit_batches WHERE number = $2',
        [numberOf(2), numberOf(1)],
      )
      const found = await faults(heads[2])
      expect(found).toContain(`changed batch: ${numberOf(2)}`)
      expect(found).toContainEqual(expect.stringMatching(/^broken chain/))
      expect(found).toContain(`head not found: batch ${numberOf(2)} has another head`)
    })

    it('an address or a device that was changed, removed or put in', async () => {
      const [changed, removed] = [await idOf('b0', '0'), await idOf('b0', '1')]
      await sql(`UPDATE audit_personal SET ip = '192.0.2.8' WHERE event_id = $1`, [changed])
      expect(await faults()).toEqual([`changed personal data: of row ${changed}`])
      await sql('DELETE FROM audit_personal WHERE event_id = $1', [removed])
      expect(await faults()).toContain(`missing personal data: of row ${removed}: no erasure of its user is recorded`)
      await sql(`INSERT INTO audit_log (id, at, event, outcome) VALUES ('${user.id}', now(), 'x', 'y')`)
      await sql(`INSERT INTO audit_personal VALUES ('${user.id}', 'salt', 'ip', NULL)`)
      expect(await faults()).toContain(`changed personal data: of row ${user.id}`)
    })

    it('an address that was removed after the erasure that is to excuse it', async () => {
      const { db, audit } = gateway.app.platform
      await inTransaction(db, (trx) => audit.erase(trx, user.id))
      expect(await faults()).toEqual([])
      await record('afterwards', { userId: user.id })
      await sql(`DELETE FROM audit_personal`)
      // that of the newcomer's own row, and of `waiting`, which is of nobody
      expect((await faults()).map((f) => f.split(':')[0])).toEqual(['missing personal data', 'missing personal data'])
    })
  })

  it('is not deceived by hashes that are computed anew, and MACs under another key', async () => {
    // the attacker has our code: every row and batch is made again, with a key of the attacker's own and the name of the real one
    const { keyId, ...forger } = createSecrets(randomBytes(32))
    const real = gateway.app.platform.secrets
    const mac = (purpose: string, data: string) => forger.mac(purpose, data).replace(keyId, real.keyId)
    const wrong = { ...forger, keyId: real.keyId, mac, verifyMac: () => true, knows: () => true }
    await sql(`UPDATE audit_log SET outcome = 'failed', batch = NULL WHERE event = 'b0'`)
    await sql(`UPDATE audit_log SET batch = NULL`)
    await sql('DELETE FROM audit_batches')
    const sealer = createSealer({ ...gateway.app.platform, secrets: wrong, sealSeconds: 60 })
    const head = await sealer.seal()
    expect((await verify(gateway, { secrets: wrong })).faults).toEqual([])

    const found = await faults(head!)
    expect(found).toContain('forged MAC: of batch 1')
    expect(found.filter((f) => f.startsWith('changed row'))).toHaveLength(4)
    expect(await faults(heads[2])).toContainEqual(expect.stringMatching(/^(head not found|cut off end)/))
  })

  it('is not deceived by a gateway that goes on after the end was cut off: it had seen the head', async () => {
    const { platform } = gateway.app
    const lost = await platform.sealer.seal()
    await sql('DELETE FROM audit_log WHERE batch >= $1', [numberOf(2)])
    await sql('DELETE FROM audit_batches WHERE number >= $1', [numberOf(2)])
    expect(await faults()).toEqual([])
    await platform.sealer.seal()
    expect(gateway.log().filter((l) => l.reason === 'audit_head_lost')).toMatchObject([{ level: 'error', head: lost }])
    expect(await faults()).toEqual([expect.stringMatching(`^cut off end: at .* a gateway found head ${lost} gone$`)])
  })

  it('sees what is built on a changed batch: no gateway seals on', async () => {
    const errors = () => gateway.log().filter((l) => l.reason === 'audit_chain_broken').length
    const before = errors()
    await sql(`UPDATE audit_batches SET size = 3, mac = 'ffffffffffff.AAAA' WHERE number = $1`, [numberOf(2)])
    expect(await createSealer({ ...gateway.app.platform, sealSeconds: 60 }).seal()).toBeNull()
    expect(errors()).toBe(before + 1)
    await expect(createAuditRetention({ ...gateway.app.platform, retentionDays: 1e-9 })(gateway.app.platform.db, 10)).rejects.toThrow(
      'audit verify',
    )
    expect((await sql('SELECT max(number) AS n FROM audit_batches'))[0].n).toBe(numberOf(2))
  })
})
