import { describe, expect, it } from 'vitest'
import { type AuditContext, COMMAND_LINE } from '../../../src/platform/audit/audit.ts'
import { exportAudit, findAuditPage } from '../../../src/platform/audit/pages.repo.ts'
import { inTransaction } from '../../../src/platform/db/database.ts'
import { call, login, newUser, newUserWithRoles } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const CONTEXT: AuditContext = { ip: '192.0.2.7', userAgent: 'Camel/1.0', requestId: 'r-1' }

describe.each(['embedded', 'postgres'] as const)('the audit log on %s', (stores) => {
  const gateway = useGateway({ stores })

  const record = (event: string, more: object = {}) =>
    inTransaction(gateway.app.platform.db, (trx) =>
      gateway.app.platform.audit.record(trx, { event, outcome: 'success', context: CONTEXT, ...more }),
    )
  const page = (filter: object) => findAuditPage(gateway.app.platform.db, { limit: 50, ...filter })

  it('records of a login the user, the time, the address, the device and the request id', async () => {
    const user = await newUser(gateway)
    const { headers } = await call(gateway, '/auth/login', {
      body: { login: user.username, password: user.password },
      headers: { 'user-agent': 'Camel/2.0', 'x-request-id': 'walk-1' },
    })
    expect(headers.get('x-request-id')).toBe('walk-1')
    const { events } = await page({ userId: user.id, event: 'login' })
    expect(events).toEqual([
      {
        id: expect.any(String),
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/),
        event: 'login',
        outcome: 'success',
        user_id: user.id,
        session_id: expect.any(String),
        actor: null,
        detail: null,
        ip: '127.0.0.1',
        user_agent: 'Camel/2.0',
        request_id: 'walk-1',
      },
    ])
  })

  it('is rolled back together with the change that it records', async () => {
    const undone = inTransaction(gateway.app.platform.db, async (trx) => {
      await gateway.app.platform.audit.record(trx, { event: 'undone', outcome: 'success', context: CONTEXT })
      throw new Error('no')
    })
    await expect(undone).rejects.toThrow('no')
    expect(await page({ event: 'undone' })).toEqual({ events: [], nextCursor: null })
  })

  it('keeps addresses and devices out of the rows that are sealed', async () => {
    await record('kept apart')
    const [row] = await rows(gateway, `SELECT l::text AS text FROM audit_log l WHERE event = 'kept apart'`)
    expect(row.text).not.toContain(CONTEXT.ip)
    expect(row.text).not.toContain('Camel')
    await record('nobody', { context: COMMAND_LINE, actor: 'environment' })
    expect((await page({ event: 'nobody' })).events).toMatchObject([{ ip: null, user_agent: null, actor: 'environment' }])
  })

  it('stores what Postgres would refuse or change: NUL, half characters, endless headers', async () => {
    await record('odd', { detail: 'a\0b\ud800', context: { ...CONTEXT, userAgent: 'x'.repeat(20_000) } })
    const { events } = await page({ event: 'odd' })
    expect(events).toMatchObject([{ detail: 'a\ufffdb\ufffd', user_agent: 'x'.repeat(512) }])
  })

  it('is read newest first in pages that miss and repeat nothing, also while it grows', async () => {
    for (let i = 0; i < 7; i++) await record('paged', { detail: String(i) })
    // of one instant
    await rows(
      gateway,
      `UPDATE audit_log SET at = (SELECT max(at) FROM audit_log) WHERE event = 'paged' AND detail IN ('3', '4', '5', '6')`,
    )
    const seen: (string | null)[] = []
    let cursor: string | undefined
    do {
      const { events, nextCursor } = await page({ event: 'paged', limit: 2, cursor })
      seen.push(...events.map((e) => e.detail))
      cursor = nextCursor ?? undefined
      await record('paged', { detail: 'later' })
    } while (cursor)
    expect(seen).toEqual(['6', '5', '4', '3', '2', '1', '0'])
  })

  it('gives the same rows in pages as at once, for every combination of filters, also of one instant', async () => {
    const user = await newUser(gateway)
    for (const [event, outcome, actor, userId] of [
      ['mixed', 'success', 'staff', user.id],
      ['mixed', 'failed', 'staff', user.id],
      ['mixed', 'failed', null, user.id],
      ['mixed', 'failed', 'staff', null],
      ['other', 'failed', 'staff', user.id],
      ['mixed', 'failed', 'staff', user.id],
      ['mixed', 'failed', 'staff', user.id],
    ] as const)
      await record(event, { outcome, actor, userId })
    await rows(gateway, `UPDATE audit_log SET at = (SELECT max(at) FROM audit_log) WHERE event IN ('mixed', 'other')`)
    const filters = { userId: user.id, event: 'mixed', outcome: 'failed', actor: 'staff' }
    const names = Object.keys(filters) as (keyof typeof filters)[]
    const sizes: number[] = []
    for (let mask = 0; mask < 16; mask++) {
      const filter = Object.fromEntries(names.filter((_, i) => mask & (1 << i)).map((name) => [name, filters[name]]))
      const { events: whole } = await page({ ...filter, limit: 1000 })
      const paged: string[] = []
      for (let cursor: string | undefined; ; ) {
        const { events, nextCursor } = await page({ ...filter, limit: 2, cursor })
        paged.push(...events.map(({ id }) => id))
        if (!nextCursor) break
        cursor = nextCursor
      }
      expect(paged).toEqual(whole.map(({ id }) => id))
      sizes.push(whole.length)
    }
    // user, event, outcome and actor together; event, outcome and actor; user, outcome and actor
    expect([sizes[15], sizes[14], sizes[13]]).toEqual([3, 4, 4])
  })

  it('refuses a cursor that no page gave', async () => {
    const forged = Buffer.from(`2026-99-99T00:00:00.000Z ${'-'.repeat(36)}`).toString('base64url')
    for (const cursor of ['', 'x', forged]) await expect(page({ cursor })).rejects.toMatchObject({ code: 'validation_failed' })
  })

  it('is filtered by user, event, outcome, actor and time', async () => {
    const user = await newUserWithRoles(gateway, ['admin'])
    await call(gateway, '/auth/login', { body: { login: user.username, password: 'a wrong password' } })
    const of = async (filter: object) => (await page({ userId: user.id, ...filter })).events.map((e) => `${e.event} ${e.outcome}`)
    expect(await of({})).toEqual(['login invalid_credentials', 'login success', 'role_grant success', 'register success'])
    expect(await of({ outcome: 'success' })).toEqual(['login success', 'role_grant success', 'register success'])
    expect(await of({ event: 'login', outcome: 'success' })).toEqual(['login success'])
    expect(await of({ actor: 'test' })).toEqual(['role_grant success'])
    const { events } = await page({ userId: user.id })
    const [second, third] = [new Date(events[2]!.at), new Date(events[1]!.at)]
    expect(await of({ since: second })).toContain('role_grant success')
    expect(await of({ until: second })).not.toContain('role_grant success')
    expect(await of({ since: second, until: third })).toEqual(['role_grant success'])
  })

  it('is exported whole, oldest first, whatever the page', async () => {
    for (let i = 0; i < 5; i++) await record('exported', { detail: String(i) })
    for (const pageSize of [1, 2, 5, 500]) {
      const seen: (string | null)[] = []
      for await (const { detail } of exportAudit(gateway.app.platform.database.read, { event: 'exported' }, pageSize)) seen.push(detail)
      expect(seen).toEqual(['0', '1', '2', '3', '4'])
    }
  })

  it('removes the addresses and devices of an erased user, and of no other user', async () => {
    const { audit, db } = gateway.app.platform
    const [user, other] = [await newUser(gateway), await newUser(gateway)]
    await login(gateway, user)
    await record('as admin', { userId: other.id, actor: `user:${user.id}` })
    await record('by admin', { userId: user.id, actor: `user:${other.id}` })
    await inTransaction(db, (trx) => audit.erase(trx, user.id))

    const known = async (filter: object) => (await page(filter)).events.map((e) => `${e.event} ${e.ip !== null}`)
    expect(await known({ userId: user.id })).toEqual(['audit_erase false', 'by admin true', 'login false', 'register false'])
    expect(await known({ userId: other.id })).toEqual(['as admin false', 'register true'])
  })
})
