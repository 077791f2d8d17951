import { describe, expect, it } from 'vitest'
import { createAccounts } from '../../../src/identity/sessions/account-transaction.ts'
import type { Revocation } from '../../../src/identity/sessions/revocations.repo.ts'
import { createRevocations } from '../../../src/identity/sessions/revocations.ts'
import { COMMAND_LINE } from '../../../src/platform/audit/audit.ts'
import { login, newUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me, pollRevocations, refresh } from '../../support/session.ts'

describe('beyond maxSessions', () => {
  const gateway = useGateway()

  it("the end of a session is announced as its user's epoch: the map does not grow by sessions", async () => {
    const { db, clock, logger, audit, metrics, config } = gateway.app.platform
    const revocations = createRevocations({ db, clock, logger, broadcasts: [], onKeyRevoked: () => {}, maxSessions: 1 })
    await revocations.poll()
    const announced: Revocation[] = []
    const announce = (revocation: Revocation) => {
      announced.push(revocation)
      return revocations.announce(revocation)
    }
    const accounts = createAccounts({ db, audit, revocations: { ...revocations, announce }, metrics, tokens: config.tokens })
    const [first, second] = [await newUser(gateway), await newUser(gateway)]
    const elsewhere = await login(gateway, second)
    const end = async ({ id, token }: { id: string; token: string }) => {
      await accounts.transaction('test', COMMAND_LINE, ({ revoke }) => revoke.session(id, claimsOf(token).sid, 'test'))
      return announced.at(-1)
    }

    expect(revocations.isFull()).toBe(false)
    expect(await end(first)).toMatchObject({ sessionId: claimsOf(first.token).sid })
    expect(revocations.isFull()).toBe(true)
    expect(await end(second)).toMatchObject({ userId: second.id, minEpoch: 2 })

    const judge = (token: string) => revocations.isRevoked(claimsOf(token).sid, claimsOf(token).sub, claimsOf(token).ver)
    expect([first, second, elsewhere].map((s) => judge(s.token))).toEqual([true, true, true])
    // what was not ended refreshes into a token of the new epoch; what was ended does not
    await pollRevocations(gateway)
    const { body } = await refresh(gateway, elsewhere.refreshToken)
    expect(judge(body.access_token)).toBe(false)
    expect(await me(gateway, body.access_token)).toBe(200)
    expect((await refresh(gateway, second.refreshToken)).body.code).toBe('refresh_invalid')
    expect(await rows(gateway, 'SELECT session_id, user_id FROM revocations ORDER BY id')).toEqual([
      { session_id: claimsOf(first.token).sid, user_id: null },
      { session_id: null, user_id: second.id },
    ])
  })
})

describe('a copy for a sibling', () => {
  const gateway = useGateway()

  it('holds every kind of revocation, and there is none before the first snapshot', async () => {
    const { db, clock, logger } = gateway.app.platform
    const revocations = createRevocations({ db, clock, logger, broadcasts: [], onKeyRevoked: () => {} })
    expect(revocations.dump()).toBe(null)
    await revocations.poll()
    const until = clock.now() + 60_000
    const announced: Revocation[] = [
      { sessionId: 'a session', until },
      { userId: 'a user', minEpoch: 3, until },
      { kid: 'a key', until },
      { blockKey: 'a block', version: 1, isLifted: false, until },
    ]
    for (const revocation of announced) await revocations.announce(revocation)
    expect(revocations.dump()).toEqual(expect.arrayContaining(announced))
    expect(revocations.dump()).toHaveLength(revocations.size())
  })
})

describe('a block of what another issuer vouches for', () => {
  const gateway = useGateway()
  const blocks = { subject: 'a subject', token: 'a token' }

  /** Revocations with a channel that the test writes to. */
  async function listening() {
    const { db, clock, logger } = gateway.app.platform
    let receive = (_message: string) => {}
    const channel = {
      publish: async () => {},
      subscribe: async (listener: (message: string) => void) => {
        receive = listener
      },
    }
    const revocations = createRevocations({ db, clock, logger, broadcasts: [channel], onKeyRevoked: () => {} })
    await revocations.start()
    return { revocations, send: (message: object) => receive(JSON.stringify(message)), until: clock.now() + 60_000 }
  }

  it('is known by its subject or its token, and ends with its time', async () => {
    const { revocations, send, until } = await listening()
    expect(revocations.isBlocked(blocks)).toBe(false)
    send({ blockKey: 'a token', version: 1, until })
    expect(revocations.isBlocked(blocks)).toBe(true)
    expect(revocations.isBlocked({ ...blocks, token: null })).toBe(false)
    send({ blockKey: 'a subject', version: 1, until: 1 })
    expect(revocations.isBlocked({ ...blocks, token: null })).toBe(false)
    revocations.stop()
  })

  it('is lifted by no message, only by the database', async () => {
    const { revocations, send, until } = await listening()
    send({ blockKey: 'a subject', version: 1, until })
    send({ blockKey: 'a subject', version: 2, isLifted: true, until })
    expect(revocations.isBlocked(blocks)).toBe(true)
    const write = (version: number, isLifted: boolean) =>
      rows(
        gateway,
        `INSERT INTO revocations (id, block_key, version, is_lifted, expires_at)
         VALUES (gen_random_uuid(), 'a subject', $1, $2, now() + interval '1 hour')`,
        [version, isLifted],
      )
    await write(3, true)
    await revocations.poll()
    expect(revocations.isBlocked(blocks)).toBe(false)
    // what is older, or of the same time, changes nothing
    send({ blockKey: 'a subject', version: 2, until })
    expect(revocations.isBlocked(blocks)).toBe(false)
    send({ blockKey: 'a subject', version: 3, until })
    expect(revocations.isBlocked(blocks)).toBe(true)
    revocations.stop()
  })

  it('of a forged message is gone when everything is read again', async () => {
    const { revocations, send, until } = await listening()
    send({ blockKey: 'nobody wrote this', version: Number.MAX_SAFE_INTEGER, until })
    const forged = { subject: 'nobody wrote this', token: null }
    expect(revocations.isBlocked(forged)).toBe(true)
    for (let n = 0; n < 61 && revocations.isBlocked(forged); n++) await revocations.poll()
    expect(revocations.isBlocked(forged)).toBe(false)
    revocations.stop()
  })

  it('that a failover has lost is written again', async () => {
    const { db } = gateway.app.platform
    const { revocations, until } = await listening()
    await revocations.announce({ blockKey: 'lost', version: 5, isLifted: false, until })
    await revocations.writeBack()
    expect(await db.selectFrom('revocations').select(['version', 'is_lifted']).where('block_key', '=', 'lost').execute()).toEqual([
      { version: '5', is_lifted: false },
    ])
    revocations.stop()
  })
})
