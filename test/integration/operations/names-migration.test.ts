import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { canonicalEmail } from '../../../src/identity/users/canonical-login.ts'
import { type OpenDatabase, openDatabase } from '../../../src/platform/db/database.ts'
import { migrateDown, migrateUp } from '../../../src/platform/db/migrate.ts'
import { type MigrationEvent, textOfEvent } from '../../../src/platform/db/migration-events.ts'
import { createLogger } from '../../../src/platform/telemetry/logger.ts'
import { createDatabase, query } from '../../support/postgres.ts'

const BEFORE = '0013-key-revocation'

describe('addresses that are one under IDNA', () => {
  let open: OpenDatabase
  let url: string
  beforeEach(async () => {
    url = await createDatabase(inject('postgresUrl'))
    open = await openDatabase({ url, dataDir: '', poolSize: 1 }, createLogger('silent'))
    await migrateDown(open, { to: BEFORE })
  })
  afterEach(() => open.close())

  /** As the earlier version stored it. */
  async function insert(username: string, email: string, { isProven = false, daysOld = 1 } = {}): Promise<string> {
    const id = randomUUID()
    await query(
      url,
      `INSERT INTO users (id, username, email, email_canonical, password_hash, roles, email_verified_at, created_at)
       VALUES ($1, $2, $3, $4, '!', '{user}', CASE WHEN $5 THEN now() END, now() - $6 * interval '1 day')`,
      [id, username, email, email.normalize('NFC').toLowerCase(), isProven, daysOld],
    )
    return id
  }
  const canonical = async (): Promise<Record<string, string>> =>
    Object.fromEntries((await query(url, 'SELECT username, email_canonical FROM users')).map((u) => [u.username, u.email_canonical]))

  it('are kept by the account that has proven them, else by the older account; the others are listed', async () => {
    await insert('proven', 'info@xn--bcher-kva.example', { isProven: true, daysOld: 1 })
    const older = await insert('older', 'info@b\u00fccher.example', { daysOld: 9 })
    await insert('first', 'eve@\uff45ve.example', { daysOld: 5 })
    const second = await insert('second', 'eve@eve.example', { daysOld: 2 })
    const third = await insert('third', 'eve@eve\u3002example', { daysOld: 3 })
    await insert('alone', 'Zo\u00eb@\u00e9t\u00e9.example')
    await insert('plain', 'plain@example.com')
    await insert('odd', 'odd@a\u0378.example')

    const events: MigrationEvent[] = []
    await migrateUp(open, { report: (event) => void events.push(event) })
    expect(await canonical()).toEqual({
      proven: 'info@xn--bcher-kva.example',
      older: `collision:${older}:info@b\u00fccher.example`,
      first: 'eve@eve.example',
      second: `collision:${second}:eve@eve.example`,
      third: `collision:${third}:eve@eve\u3002example`,
      alone: 'zo\u00eb@xn--t-9fab.example',
      plain: 'plain@example.com',
      odd: 'odd@a\u0378.example',
    })
    const notes = events.filter(({ kind }) => kind === 'note').map(textOfEvent)
    expect(notes).toHaveLength(3)
    for (const name of ['older', 'second', 'third']) expect(notes.join('\n')).toContain(`${name} logs in by username`)
    // the form is that of the lookup
    for (const [username, email] of [
      ['proven', 'info@b\u00fccher.example'],
      ['alone', 'zo\u00eb@\u00c9T\u00c9.example'],
      ['first', 'eve@eve.example'],
    ] as const)
      expect((await canonical())[username]).toBe(canonicalEmail(email))

    await migrateDown(open, { to: BEFORE })
    expect(await canonical()).toMatchObject({
      older: 'info@b\u00fccher.example',
      first: 'eve@\uff45ve.example',
      second: 'eve@eve.example',
      alone: 'zo\u00eb@\u00e9t\u00e9.example',
    })
  })

  it('devices keep their tokens and networks', async () => {
    const id = await insert('ann', 'ann@example.com')
    const device = randomUUID()
    await query(
      url,
      `INSERT INTO devices (id, user_id, token_hash, network, user_agent, first_seen_at, last_seen_at) VALUES ($1, $2, 'x', '10.0.0.0/24', 'a', now(), now())`,
      [device, id],
    )
    await migrateUp(open)
    expect(
      await query(
        url,
        `SELECT device_id, network, convert_from(token_hash, 'UTF8') AS token FROM device_networks JOIN device_tokens USING (device_id)`,
      ),
    ).toEqual([{ device_id: device, network: '10.0.0.0/24', token: 'x' }])
    await migrateDown(open, { to: BEFORE })
    expect(await query(url, `SELECT convert_from(token_hash, 'UTF8') AS token FROM devices`)).toEqual([{ token: 'x' }])
  })
})
