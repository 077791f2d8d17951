import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  ACTIONS,
  type Action,
  type Challenge,
  createProofOfWork,
  type ProofOfWork,
} from '../../../src/identity/credentials/proof-of-work.ts'
import { Problem } from '../../../src/platform/lib/errors.ts'
import type { Client } from '../../../src/platform/request/client-address.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'
import { createSecrets } from '../../../src/platform/vault/secrets.ts'
import { EASY, encode, solved } from '../../support/proof-of-work.ts'
import { times } from '../../support/times.ts'

const CONFIG = { ...EASY, loginFailures: 3 }
const client = (isExempt = false) => ({ client: { isExempt } as Client })
const metrics = createMetrics('test')
const failures = { areMany: async () => true, counting: <T>(_: Client, work: (areMany: boolean) => Promise<T>) => work(true) }

let now = Date.now()
let marked: Map<string, Date>
let [current, previous]: Buffer[] = []
beforeEach(() => {
  now = Date.now()
  marked = new Map()
  current = randomBytes(32)
  previous = randomBytes(32)
})

function make(secrets = createSecrets(current!), config: object = CONFIG): ProofOfWork {
  const markUsed = async (id: string, expiresAt: Date) => !marked.has(id) && Boolean(marked.set(id, expiresAt))
  return createProofOfWork({ secrets, clock: { now: () => now }, metrics, failures, markUsed }, { ...CONFIG, ...config })
}

/** Null when the solution is accepted; else why not, as the log says it. */
async function judged(proof: ProofOfWork, action: Action, solution: string | undefined): Promise<string | null> {
  try {
    await proof.require(action, solution, client())
    return null
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'proof_of_work_required') throw error
    return String(error.cause)
  }
}

interface Solved {
  challenge: Challenge
  solution: { counter: number; derivedKey: string }
}
/** The solution after a change of its JSON. */
const changed = (text: string, change: (solved: Solved) => unknown): string => {
  const value = JSON.parse(Buffer.from(text, 'base64').toString())
  return encode(change(value) ?? value)
}

describe('a solution', () => {
  it.each(ACTIONS)('is accepted for %s, once', async (action) => {
    const proof = make()
    const solution = await solved(await proof.issue(action))
    expect(await judged(proof, action, solution)).toBeNull()
    expect(await judged(proof, action, solution)).toBe('the solution was used before')
    expect(marked.size).toBe(1)
  })

  it('is accepted once by all processes together', async () => {
    const all = times(5, () => make())
    const solution = await solved(await all[0]!.issue('register'))
    const outcomes = await Promise.all(all.map((proof) => judged(proof, 'register', solution)))
    expect(outcomes.filter((outcome) => outcome === null)).toHaveLength(1)
  })

  it('is for one action', async () => {
    const proof = make()
    for (const action of ACTIONS)
      for (const other of ACTIONS.filter((one) => one !== action)) {
        const solution = await solved(await proof.issue(action))
        expect(await judged(proof, other, solution)).toBe('the challenge is for another action')
        const renamed = changed(solution, ({ challenge }) => void Object.assign(challenge.parameters.data, { for: other }))
        expect(await judged(proof, other, renamed)).toBe('the challenge is not ours, or the solution is wrong')
      }
    expect(marked.size).toBe(0)
  })

  it('is accepted for 5 minutes, by the clock of the gateway', async () => {
    const proof = make()
    const [first, second] = [await proof.issue('forgot'), await proof.issue('forgot')]
    const end = first.parameters.expiresAt * 1000
    expect(end - now).toBeGreaterThan(299_000)
    expect(end - now).toBeLessThanOrEqual(300_000)
    const solutions = [await solved(first), await solved(second)]
    now = end - 1
    expect(await judged(proof, 'forgot', solutions[0])).toBeNull()
    now = end
    expect(await judged(proof, 'forgot', solutions[1])).toBe('the challenge has expired')
    const later = changed(
      solutions[1]!,
      ({ challenge }) => void Object.assign(challenge.parameters, { expiresAt: challenge.parameters.expiresAt + 600 }),
    )
    expect(await judged(proof, 'forgot', later)).toBe('the challenge is not ours, or the solution is wrong')
    // the database may be ahead
    expect([...marked.values()][0]!.getTime()).toBe(end + 300_000)
  })

  it('of a challenge under the previous secret key is accepted; under an unknown one it is not', async () => {
    const before = await solved(await make(createSecrets(previous!)).issue('login'))
    expect(await judged(make(createSecrets(current!, previous)), 'login', before)).toBeNull()
    const unknown = await solved(await make(createSecrets(randomBytes(32))).issue('login'))
    expect(await judged(make(createSecrets(current!, previous)), 'login', unknown)).toContain('not ours')
  })
})

describe('rubbish', () => {
  const WRONG = 'the challenge is not ours, or the solution is wrong'
  const flip = (text: string) => (text[0] === 'a' ? 'b' : 'a') + text.slice(1)

  it.each<[string, (solved: Solved) => unknown]>([
    ['a lower cost', ({ challenge }) => void Object.assign(challenge.parameters, { cost: 1 })],
    ['a shorter prefix', ({ challenge }) => void Object.assign(challenge.parameters, { keyPrefix: '00' })],
    ['another nonce', ({ challenge }) => void Object.assign(challenge.parameters, { nonce: flip(challenge.parameters.nonce) })],
    ['another salt', ({ challenge }) => void Object.assign(challenge.parameters, { salt: flip(challenge.parameters.salt) })],
    [
      'another key signature',
      ({ challenge }) => void Object.assign(challenge.parameters, { keySignature: flip(challenge.parameters.keySignature) }),
    ],
    ['a further parameter', ({ challenge }) => void Object.assign(challenge.parameters, { counter: 1 })],
    ['a further member of the data', ({ challenge }) => void Object.assign(challenge.parameters.data, { x: 1 })],
    ['another signature', ({ challenge }) => void Object.assign(challenge, { signature: flip(challenge.signature) })],
    [
      'the key prefix as the key',
      (it) => void Object.assign(it.solution, { derivedKey: it.challenge.parameters.keyPrefix.padEnd(64, '0') }),
    ],
    ['another key', ({ solution }) => void Object.assign(solution, { derivedKey: flip(solution.derivedKey) })],
  ])('%s is refused', async (_what, change) => {
    const proof = make()
    const solution = changed(await solved(await proof.issue('register')), change)
    expect(await judged(proof, 'register', solution)).toBe(WRONG)
    expect(marked.size).toBe(0)
  })

  it.each<[string, (solved: Solved) => unknown]>([
    ['no solution', ({ challenge }) => ({ challenge })],
    ['no challenge', ({ solution }) => ({ solution })],
    ['no key signature', ({ challenge }) => void Reflect.deleteProperty(challenge.parameters, 'keySignature')],
    ['no signature', ({ challenge }) => void Reflect.deleteProperty(challenge, 'signature')],
    ['a signature in capitals', ({ challenge }) => void Object.assign(challenge, { signature: challenge.signature.toUpperCase() })],
    ['an end as text', ({ challenge }) => void Object.assign(challenge.parameters, { expiresAt: '9999999999' })],
    ['no end', ({ challenge }) => void Reflect.deleteProperty(challenge.parameters, 'expiresAt')],
    ['a list of data', ({ challenge }) => void Object.assign(challenge.parameters, { data: ['register'] })],
    ['an unknown action', ({ challenge }) => void Object.assign(challenge.parameters.data, { for: 'anything' })],
    ['a counter of a fraction', ({ solution }) => void Object.assign(solution, { counter: 0.5 })],
    ['a counter as text', ({ solution }) => void Object.assign(solution, { counter: '1' })],
    ['an empty key', ({ solution }) => void Object.assign(solution, { derivedKey: '' })],
    ['a list', (solution) => [solution]],
    ['a number', () => 7],
    ['a value that is too long', (solution) => ({ ...solution, more: 'x'.repeat(2000) })],
  ])('%s is malformed', async (_what, change) => {
    const proof = make()
    const solution = changed(await solved(await proof.issue('register')), change)
    expect(await judged(proof, 'register', solution)).toBe('the solution is malformed')
  })

  it('an absent or an empty solution is missing', async () => {
    for (const nothing of [undefined, '']) expect(await judged(make(), 'register', nothing)).toBe('there is no solution')
  })

  it('a solution that was cut anywhere is malformed', async () => {
    const proof = make()
    const solution = await solved(await proof.issue('register'))
    for (let length = 1; length < solution.length - 4; length += 7)
      expect(await judged(proof, 'register', solution.slice(0, length))).toBe('the solution is malformed')
  })

  it('of any shape is refused, and never an error of the gateway', async () => {
    const proof = make()
    const { challenge } = JSON.parse(Buffer.from(await solved(await proof.issue('register')), 'base64').toString()) as Solved
    const shapes = fc.oneof(
      fc.string(),
      fc.base64String({ maxLength: 3000 }),
      fc.json().map((text) => Buffer.from(text).toString('base64')),
      fc.anything().map((value) => encode(value ?? null)),
      fc.anything().map((solution) => encode({ challenge, solution })),
      fc
        .anything()
        .map((parameters) => encode({ challenge: { ...challenge, parameters }, solution: { counter: 1, derivedKey: '00'.repeat(32) } })),
    )
    await fc.assert(
      fc.asyncProperty(shapes, async (text) => {
        expect(await judged(proof, 'register', text)).not.toBeNull()
      }),
      { numRuns: 300 },
    )
    expect(marked.size).toBe(0)
  })

  it('nested as deep as its length allows is refused', async () => {
    const deep = `${'[{"a":'.repeat(250)}1${'}]'.repeat(250)}`
    expect(await judged(make(), 'register', Buffer.from(deep).toString('base64'))).toBe('the solution is malformed')
  })
})

describe('challenges', () => {
  it('have the configured cost, and answers that are uniform below twice the mean', async () => {
    const proof = make(undefined, { cost: 1000, tries: 4 })
    const counters: number[] = []
    for (let i = 0; i < 60; i++) {
      const challenge = await proof.issue('login')
      expect(challenge.parameters).toMatchObject({ algorithm: 'PBKDF2/SHA-256', cost: 1000, keyLength: 32, data: { for: 'login' } })
      counters.push(JSON.parse(Buffer.from(await solved(challenge), 'base64').toString()).solution.counter)
    }
    expect(Math.max(...counters)).toBeLessThan(8)
    expect(new Set(counters).size).toBeGreaterThan(4)
  })

  it('are made one at a time; above 64 waiting requests there is no room', async () => {
    const proof = make()
    const outcomes = await Promise.allSettled(times(80, () => proof.issue('login')))
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as Problem] : []))
    expect(refused).toHaveLength(16)
    for (const { code, headers } of refused) expect([code, Number(headers['retry-after']) > 0]).toEqual(['overloaded', true])
    expect((await proof.issue('login')).signature).toHaveLength(64)
  })
})

describe('who needs none', () => {
  it('an exempt client', async () => {
    const proof = make()
    for (const action of ACTIONS) {
      await proof.require(action, undefined, client(true))
      expect(await proof.isNeeded(action, client(true).client)).toBe(false)
      expect(await proof.isNeeded(action, client().client)).toBe(true)
    }
    expect(await proof.login(undefined, client(true), async () => 'in')).toBe('in')
    await expect(proof.login(undefined, client(), async () => 'in')).rejects.toMatchObject({ code: 'proof_of_work_required' })
  })

  it('everybody, where it is not enabled', async () => {
    const proof = make(undefined, { enabled: false })
    expect(proof.isEnabled).toBe(false)
    await proof.require('register', 'rubbish', client())
    expect(await proof.login(undefined, client(), async () => 'in')).toBe('in')
    expect(await proof.isNeeded('login', client().client)).toBe(false)
    await expect(proof.issue('register')).rejects.toMatchObject({ code: 'not_found' })
  })
})

it('a refusal says how to go on', async () => {
  const refused = await make()
    .require('forgot', undefined, client())
    .catch((error: Problem) => error)
  expect(refused).toMatchObject({ status: 403, detail: expect.stringContaining('GET {auth}/challenge?for=forgot, and send') })
})
