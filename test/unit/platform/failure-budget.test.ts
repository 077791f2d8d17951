import { describe, expect, it } from 'vitest'
import { problem } from '../../../src/platform/lib/errors.ts'
import { createFailureBudget } from '../../../src/platform/limits/failure-budget.ts'
import { createLimiter } from '../../../src/platform/limits/limiter.ts'
import { NO_GUARD } from '../../../src/platform/redis/redis-guard.ts'
import { addressKey, type Client } from '../../../src/platform/request/client-address.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const LIMIT = 5
const PER_SECOND = 50

const clientAt = (address: string, isExempt = false): Client => ({
  address,
  limitKey: addressKey(address),
  peer: address,
  viaTrustedProxy: false,
  isProxy: false,
  isReadable: true,
  isSecure: false,
  forwardedFor: '',
  isExempt,
})

const unneeded = async () => expect.unreachable('the database is not needed')

function newBudget() {
  let now = 0
  const clock = { now: () => now, steady: () => now }
  const limiter = createLimiter({
    redis: null,
    guard: NO_GUARD,
    shares: 1,
    counters: { add: unneeded, clear: unneeded },
    metrics: createMetrics('test'),
  })
  const limit = { name: 'token', scope: 'credential', limit: LIMIT, windowSeconds: 3600 } as const
  const budget = createFailureBudget({ limiter, clock }, { limit, failures: ['token_invalid'], fallback: { kind: 'local' } })
  const outcomeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'good',
      (error) => error.code as string,
    )
  const client = clientAt('192.0.2.1')
  return {
    advance: (ms: number) => {
      now += ms
    },
    bad: (from = client) => outcomeOf(budget.check(from, () => Promise.reject(problem('token_invalid')))),
    good: (from = client, work: () => Promise<unknown> = async () => {}) => outcomeOf(budget.check(from, work)),
    malformed: (from = client) => outcomeOf(budget.refuse(from, problem('token_invalid'))),
    refusal: (from = client) => budget.check(from, () => Promise.reject(problem('token_invalid'))).catch((error) => error),
    failure: (code: 'unavailable' | 'token_expired') => outcomeOf(budget.check(client, () => Promise.reject(problem(code)))),
  }
}

type Budget = ReturnType<typeof newBudget>
const repeat = <T>(n: number, work: (i: number) => Promise<T>) => Promise.all(Array.from({ length: n }, (_, i) => work(i)))
async function inTurn(n: number, work: () => Promise<string>): Promise<string[]> {
  const all: string[] = []
  for (let i = 0; i < n; i++) all.push(await work())
  return all
}
const count = (outcomes: string[], outcome: string) => outcomes.filter((o) => o === outcome).length
const spend = ({ bad }: Budget, from?: Client) => inTurn(LIMIT, () => bad(from))

describe('a budget of failures', () => {
  it('is used up by exactly as many parallel failures as the limit and the slower pace allow', async () => {
    const budget = newBudget()
    const outcomes = await repeat(300, () => budget.bad())
    expect(count(outcomes, 'token_invalid')).toBe(LIMIT + PER_SECOND)
    expect(count(outcomes, 'rate_limited')).toBe(300 - LIMIT - PER_SECOND)
  })

  it('costs a valid credential nothing, one after the other and in parallel', async () => {
    const budget = newBudget()
    expect(await inTurn(200, () => budget.good())).not.toContain('rate_limited')
    expect(count(await repeat(1000, () => budget.good()), 'good')).toBe(1000)
    expect(await spend(budget)).not.toContain('rate_limited')
    expect(count(await repeat(1000, () => budget.good()), 'good')).toBe(1000)
    expect(count(await inTurn(300, () => budget.good()), 'good')).toBe(300)
  })

  it('goes on at fifty checks a second once it is used up', async () => {
    const budget = newBudget()
    await spend(budget)
    expect(count(await inTurn(200, () => budget.bad()), 'token_invalid')).toBe(PER_SECOND)
    expect(await budget.good()).toBe('rate_limited')
    budget.advance(20)
    expect(await budget.good()).toBe('good')
    budget.advance(100)
    expect(count(await inTurn(20, () => budget.bad()), 'token_invalid')).toBe(6)
    budget.advance(60_000)
    expect(count(await inTurn(200, () => budget.bad()), 'token_invalid')).toBe(PER_SECOND)
  })

  it('makes a valid credential wait for the checks that run, and serves it', async () => {
    const budget = newBudget()
    await spend(budget)
    let finish = () => {}
    const started = new Promise<void>((resolve) => {
      finish = resolve
    })
    const running = repeat(PER_SECOND, () => budget.good(undefined, () => started))
    const waiting = repeat(20, () => budget.good())
    finish()
    expect(count([...(await running), ...(await waiting)], 'good')).toBe(PER_SECOND + 20)
  })

  it('refuses all that wait when the checks that ran were failures', async () => {
    const budget = newBudget()
    await spend(budget)
    expect(count(await repeat(500, () => budget.bad()), 'rate_limited')).toBe(500 - PER_SECOND)
  })

  it('names the limit and a second to wait', async () => {
    const budget = newBudget()
    await spend(budget)
    await inTurn(PER_SECOND, () => budget.bad())
    const { code, headers } = await budget.refusal()
    expect(code).toBe('rate_limited')
    expect(headers).toMatchObject({ 'ratelimit-policy': '"token";q=5;w=3600', 'retry-after': '1' })
  })

  it('counts what its form refuses, without using up the slower pace', async () => {
    const budget = newBudget()
    expect(await inTurn(LIMIT + 100, () => budget.malformed())).toEqual([
      ...Array.from({ length: LIMIT }, () => 'token_invalid'),
      ...Array.from({ length: 100 }, () => 'rate_limited'),
    ])
    expect(await budget.good()).toBe('good')
    expect(count(await inTurn(100, () => budget.bad()), 'token_invalid')).toBe(PER_SECOND)
  })

  it('is not used up by errors that say nothing of the credential', async () => {
    const budget = newBudget()
    await inTurn(20, () => budget.failure('unavailable'))
    await inTurn(20, () => budget.failure('token_expired'))
    expect(count(await inTurn(LIMIT, () => budget.malformed()), 'token_invalid')).toBe(LIMIT)
  })

  it('does not bind an exempt client', async () => {
    const budget = newBudget()
    const exempt = clientAt('192.0.2.1', true)
    expect(count(await inTurn(200, () => budget.bad(exempt)), 'token_invalid')).toBe(200)
    expect(count(await inTurn(200, () => budget.malformed(exempt)), 'token_invalid')).toBe(200)
  })

  it('is one for a /64 and for its /56, and eight times as large for the /48', async () => {
    const budget = newBudget()
    const at = (net: number) => clientAt(`2001:db8:7:${net.toString(16)}::1`)
    // 256 customers of one /56
    const narrow: string[] = []
    for (let i = 0; i < LIMIT + 2; i++) narrow.push(await budget.malformed(at(i)))
    expect(count(narrow, 'rate_limited')).toBe(2)
    // one failure in each other /56 of the /48, which counted five before
    const wide: string[] = []
    for (let i = 1; i <= 40; i++) wide.push(await budget.malformed(at(i << 8)))
    expect(count(wide, 'token_invalid')).toBe(8 * LIMIT - LIMIT)
    expect(await budget.malformed(clientAt('2001:db8:8::1'))).toBe('token_invalid')
    expect(await budget.good(at(0))).toBe('good')
  })
})
