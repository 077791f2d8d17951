/** The one place that revokes: what is committed is announced before the caller has the answer, and nothing else is announced. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Principal } from '../../../src/identity/access/principal.ts'
import { createLockForAction } from '../../../src/identity/admin/lock-for-action.ts'
import { type Accounts, type AccountTransaction, createAccounts } from '../../../src/identity/sessions/account-transaction.ts'
import { insertRevocation, type Revocation } from '../../../src/identity/sessions/revocations.repo.ts'
import { createRevocations } from '../../../src/identity/sessions/revocations.ts'
import { inTransaction, type Transaction } from '../../../src/platform/db/database.ts'
import { problem } from '../../../src/platform/lib/errors.ts'
import type { Broadcast } from '../../../src/platform/redis/redis.ts'
import { login, newUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me } from '../../support/session.ts'

const CONTEXT = { ip: '192.0.2.7', userAgent: 'a test', requestId: 'account-transaction' }

describe.each(['embedded', 'postgres'] as const)('an account transaction on %s', (stores) => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway({ stores })
  })
  afterAll(() => gateway.close())

  let announced: Revocation[] = []
  beforeEach(() => {
    announced = []
  })

  /** The gateway's own parts, with an ear at the announcements. */
  function accountsWith(announce: (revocation: Revocation) => Promise<void> = async () => {}): Accounts {
    const { db, audit, metrics, config } = gateway.app.platform
    const { revocations } = gateway.app.identity
    const listening = {
      ...revocations,
      async announce(revocation: Revocation) {
        announced.push(revocation)
        await announce(revocation)
        await revocations.announce(revocation)
      },
    }
    return createAccounts({ db, audit, revocations: listening, metrics, tokens: config.tokens })
  }

  const sidOf = ({ token }: { token: string }): string => claimsOf(token).sid
  const written = async (sid: string) => (await rows(gateway, 'SELECT session_id FROM revocations WHERE session_id = $1', [sid])).length
  const isEnded = (sid: string) => gateway.app.identity.revocations.isEnded(sid)
  const aborted = (code: string) => Object.assign(new Error('as Postgres would'), { code })

  it('announces what it revoked after the commit, and before the answer', async () => {
    const user = await newUser(gateway)
    let isAnswered = false
    const seen: object[] = []
    const accounts = accountsWith(async () => {
      // another connection sees the row: the transaction is committed
      seen.push({ committed: await written(sidOf(user)), isAnswered })
    })
    const answer = await accounts
      .transaction('test', CONTEXT, async ({ revoke }) => {
        await revoke.session(user.id, sidOf(user), 'test')
        expect(announced).toEqual([])
        return 'the answer'
      })
      .finally(() => {
        isAnswered = true
      })
    expect(answer).toBe('the answer')
    expect(seen).toEqual([{ committed: 1, isAnswered: false }])
    expect(announced).toMatchObject([{ sessionId: sidOf(user) }])
    expect(await me(gateway, user.token)).toBe('token_revoked')
  })

  it.each(['a revocation', 'an audit row'])('undoes everything when %s was not awaited', async (what) => {
    const user = await newUser(gateway)
    const transaction = accountsWith().transaction('test', CONTEXT, async ({ revoke, record }) => {
      void (what === 'a revocation' ? revoke.session(user.id, sidOf(user), 'test') : record({ userId: user.id }))
    })
    await expect(transaction).rejects.toThrow('test: a revocation or an audit row was not awaited')
    expect(announced).toEqual([])
    expect(await written(sidOf(user))).toBe(0)
    expect(await me(gateway, user.token)).toBe(200)
  })

  it('announces every kind of end, in the order in which they were written', async () => {
    const user = await newUser(gateway)
    const [second, third] = [await login(gateway, user), await login(gateway, user)]
    await accountsWith().transaction('test', CONTEXT, async ({ revoke }) => {
      await revoke.session(user.id, sidOf(user), 'test')
      await revoke.credential(user.id, 'f2f8e5a4-6c4e-4f6e-9a52-3a6d6e0f1b11')
      await revoke.otherSessions(user.id, sidOf(second), 'test')
      await revoke.outdateTokens(user.id)
      await revoke.tokensBelow(user.id, 7)
      await revoke.allSessions(user.id, 'test')
    })
    expect(announced.map(({ until: _, ...what }) => what)).toEqual([
      { sessionId: sidOf(user) },
      { sessionId: 'f2f8e5a4-6c4e-4f6e-9a52-3a6d6e0f1b11' },
      { sessionId: sidOf(third) },
      { userId: user.id, minEpoch: 2 },
      { userId: user.id, minEpoch: 7 },
      { userId: user.id, minEpoch: 3 },
    ])
  })

  it('announces nothing when it rolls back', async () => {
    const user = await newUser(gateway)
    const failed = accountsWith().transaction('test', CONTEXT, async ({ revoke, record }) => {
      await revoke.session(user.id, sidOf(user), 'test')
      await record({ userId: user.id })
      throw problem('not_found')
    })
    await expect(failed).rejects.toMatchObject({ code: 'not_found' })
    expect(announced).toEqual([])
    expect(isEnded(sidOf(user))).toBe(false)
    expect(await written(sidOf(user))).toBe(0)
    expect(await me(gateway, user.token)).toBe(200)
  })

  it.each(['40001', '40P01'])('an attempt that is repeated after %s announces only what the committed attempt revoked', async (code) => {
    const [dropped, ended] = [await newUser(gateway), await newUser(gateway)]
    let attempts = 0
    await accountsWith().transaction('test', CONTEXT, async ({ revoke }) => {
      attempts++
      const { id, token } = attempts < 3 ? dropped : ended
      await revoke.session(id, claimsOf(token).sid, 'test')
      if (attempts < 3) throw aborted(code)
    })
    expect(attempts).toBe(3)
    expect(announced).toMatchObject([{ sessionId: sidOf(ended) }])
    expect([isEnded(sidOf(dropped)), isEnded(sidOf(ended))]).toEqual([false, true])
    expect([await written(sidOf(dropped)), await written(sidOf(ended))]).toEqual([0, 1])
  })

  it('announces nothing when every attempt fails', async () => {
    const user = await newUser(gateway)
    const failed = accountsWith().transaction('test', CONTEXT, async ({ revoke }) => {
      await revoke.session(user.id, sidOf(user), 'test')
      throw aborted('40P01')
    })
    await expect(failed).rejects.toMatchObject({ code: 'unavailable' })
    expect(announced).toEqual([])
  })

  it('a broadcast that fails is no error: this process refuses the token, and the others hear of it', async () => {
    const { db, audit, metrics, config, clock, logger } = gateway.app.platform
    const messages: string[] = []
    const broken: Broadcast = { publish: () => Promise.reject(new Error('away')), subscribe: async () => {} }
    const working: Broadcast = { publish: async (message) => void messages.push(message), subscribe: async () => {} }
    const revocations = createRevocations({ db, clock, logger, broadcasts: [broken, working], onKeyRevoked: () => {} })
    await revocations.poll()
    const user = await newUser(gateway)
    const accounts = createAccounts({ db, audit, revocations, metrics, tokens: config.tokens })
    const work = accounts.transaction('test', CONTEXT, async ({ revoke }) => {
      await revoke.session(user.id, sidOf(user), 'test')
      return 'the answer'
    })
    expect(await work).toBe('the answer')
    expect(revocations.isEnded(sidOf(user))).toBe(true)
    expect(messages.map((message) => JSON.parse(message))).toMatchObject([{ sessionId: sidOf(user) }])
  })

  it('writes audit rows of its event and context, with the outcome success unless the row says otherwise', async () => {
    const user = await newUser(gateway)
    const accounts = accountsWith()
    await accounts.transaction('test_event', CONTEXT, async ({ record }) => {
      await record({ userId: user.id, detail: 'first' })
      await record({ userId: user.id, event: 'test_other', outcome: 'refused', actor: 'somebody', sessionId: sidOf(user) })
    })
    await accounts.record('test_alone', { outcome: 'not_found', userId: user.id }, CONTEXT)
    const text = `SELECT event, outcome, actor, detail, session_id, request_id FROM audit_log WHERE user_id = $1 AND event LIKE 'test%' ORDER BY id`
    const row = { actor: null, detail: null, session_id: null, request_id: CONTEXT.requestId }
    expect(await rows(gateway, text, [user.id])).toEqual([
      { ...row, event: 'test_event', outcome: 'success', detail: 'first' },
      { ...row, event: 'test_other', outcome: 'refused', actor: 'somebody', session_id: sidOf(user) },
      { ...row, event: 'test_alone', outcome: 'not_found' },
    ])
  })

  it('counts how the whole operation ends, also when it fails before the transaction', async () => {
    const accounts = accountsWith()
    const counted = accounts.counted('test_counted', async (end: 'success' | 'refusal' | 'fault') => {
      if (end === 'refusal') throw problem('invalid_credentials')
      if (end === 'fault') throw new Error('a fault')
      return accounts.transaction('test_counted', CONTEXT, async () => end)
    })
    expect(await counted('success')).toBe('success')
    await expect(counted('refusal')).rejects.toMatchObject({ code: 'invalid_credentials' })
    await expect(counted('fault')).rejects.toThrow('a fault')
    const text = await gateway.app.platform.metrics.registry.metrics()
    const counts = [...text.matchAll(/account_events_total\{event="test_counted",outcome="(\w+)"\} (\d+)/g)].map(([, ...found]) => found)
    expect(Object.fromEntries(counts)).toEqual({ success: '1', invalid_credentials: '1', internal: '1' })
  })

  it('locks the user before the session, and refuses a caller whose session has ended', async () => {
    const user = await newUser(gateway)
    const caller = { id: user.id, sessionId: sidOf(user), epoch: claimsOf(user.token).ver }
    const accounts = accountsWith()
    const found = await accounts.transaction('test', CONTEXT, ({ lockUserAndSession }) => lockUserAndSession(user.id, sidOf(user)))
    expect([found.user?.id, found.session?.id]).toEqual([user.id, sidOf(user)])
    expect((await accounts.transaction('test', CONTEXT, ({ lockCaller }) => lockCaller(caller))).id).toBe(user.id)
    const wrongHash = accounts.transaction('test', CONTEXT, ({ lockCaller }) => lockCaller(caller, 'another hash'))
    await expect(wrongHash).rejects.toMatchObject({ code: 'invalid_credentials' })
    await accounts.transaction('test', CONTEXT, ({ revoke }) => revoke.session(user.id, sidOf(user), 'test'))
    const { clock, config } = gateway.app.platform
    const lockForAction = createLockForAction({ clock, admin: config.auth.admin })
    const principal = { ...caller, authenticatedAt: clock.now() / 1000, hasFactor: false } as Principal
    const locks: ((tx: AccountTransaction) => Promise<unknown>)[] = [
      (tx) => tx.lockCaller(caller),
      (tx) => lockForAction(tx.trx, { actor: 'test', context: CONTEXT, principal }),
    ]
    for (const lock of locks) {
      const refused = accounts.transaction('test', CONTEXT, async (tx) => void (await lock(tx)))
      await expect(refused).rejects.toMatchObject({ code: 'token_revoked' })
    }
  })

  it('no other transaction can write a revocation: the types say so', async () => {
    const revocation = { sessionId: 'f2f8e5a4-6c4e-4f6e-9a52-3a6d6e0f1b11', until: 0 }
    // @ts-expect-error a database transaction is no account transaction
    const plain = (trx: Transaction) => insertRevocation(trx, revocation)
    // @ts-expect-error nor is a look-alike: only account-transaction.ts may use the symbol
    const lookAlike = (trx: Transaction) => insertRevocation({ trx, revocations: [] }, revocation)
    expect([plain, lookAlike]).toHaveLength(2)
    // and a plain transaction has nothing that revokes
    await inTransaction(gateway.app.platform.db, async (trx) => expect('revoke' in trx).toBe(false))
  })
})
