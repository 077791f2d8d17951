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
    ]
    for (const revocation of announced) await revocations.announce(revocation)
    expect(revocations.dump()).toEqual(expect.arrayContaining(announced))
    expect(revocations.dump()).toHaveLength(revocations.size())
  })
})
