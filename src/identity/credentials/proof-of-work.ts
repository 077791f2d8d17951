/**
 * Proof of work by the protocol of ALTCHA (version 2, PBKDF2): a client computes before the gateway does. A challenge is stored nowhere. It
 * is signed, and so are the action that it is for and its end. The gateway chooses the answer beforehand: a challenge costs it one PBKDF2,
 * and a solution is checked with MACs alone. So a flood of wrong solutions computes nothing, and no client needs more than twice the mean.
 */
import { randomInt } from 'node:crypto'
import { CappedMap, createChallenge, verifySolution } from 'altcha-lib'
import { deriveKey } from 'altcha-lib/algorithms/pbkdf2'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { drawRetryAfter, problem } from '../../platform/lib/errors.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import type { LoginFailures } from './login-failures.ts'

/** What a challenge is for. A solution for one action is none for another. */
export const ACTIONS = ['register', 'forgot', 'email_login', 'login'] as const
export type Action = (typeof ACTIONS)[number]

/** About 730 characters are usual. */
const MAX_SOLUTION_LENGTH = 2048

/** For bodies. Where no proof of work is asked for, it is ignored: a page that was opened before a reload of the configuration still works. */
export const proofOfWorkField = {
  proof_of_work: Type.Optional(
    Type.String({
      maxLength: MAX_SOLUTION_LENGTH,
      description: 'Where `auth.proofOfWork` is enabled: the solution of a challenge, as ALTCHA encodes it.',
    }),
  ),
}

const hex = (minLength: number, maxLength = minLength) => Type.String({ pattern: `^[0-9a-f]{${minLength},${maxLength}}$` })

/** A challenge of ALTCHA, version 2. */
export const ChallengeSchema = Type.Object({
  parameters: Type.Object({
    algorithm: Type.String(),
    cost: Type.Integer({ description: 'Rounds of PBKDF2 for each try.' }),
    data: Type.Object({ for: Type.Enum([...ACTIONS]) }),
    expiresAt: Type.Integer({ description: 'Seconds since the epoch.' }),
    keyLength: Type.Integer(),
    keyPrefix: hex(2, 64),
    keySignature: hex(64),
    nonce: hex(32),
    salt: hex(32),
  }),
  signature: hex(64),
})
export type Challenge = Static<typeof ChallengeSchema>

/** Strict, so that nothing of another form comes to the library. */
const Solved = Type.Object({
  challenge: ChallengeSchema,
  solution: Type.Object({ counter: Type.Integer({ minimum: 0, maximum: 0xffff_ffff }), derivedKey: hex(64) }),
})

export interface ProofOfWork {
  readonly isEnabled: boolean
  /** @throws overloaded when too many challenges are being made */
  issue(action: Action): Promise<Challenge>
  /**
   * Uses a solution up. Call it before Argon2 and before accounts are looked up. Exempt clients need no solution.
   * @param solution base64 of the JSON `{ challenge, solution }`
   * @throws proof_of_work_required
   */
  require(action: Action, solution: string | undefined, caller: { client: Client }): Promise<void>
  /** The same for a login, which needs a solution only after failures of the address. @throws proof_of_work_required */
  login<T>(solution: string | undefined, caller: { client: Client }, work: () => Promise<T>): Promise<T>
  /** Whether a form of this client needs a solution. */
  isNeeded(action: Action, client: Client): Promise<boolean>
}

export interface ProofOfWorkDeps {
  /** Marks a challenge as used. Only one of several calls succeeds, in whatever process. @returns false when it was used before */
  markUsed(id: string, expiresAt: Date): Promise<boolean>
  secrets: Pick<Secrets, 'deriveAll'>
  clock: Pick<Clock, 'now'>
  metrics: Pick<Metrics, 'proofOfWork'>
  failures: LoginFailures
}

/** Why a solution is refused. For the log and the metric. */
const REFUSALS = {
  missing: 'there is no solution',
  malformed: 'the solution is malformed',
  other_action: 'the challenge is for another action',
  expired: 'the challenge has expired',
  wrong: 'the challenge is not ours, or the solution is wrong',
  used: 'the solution was used before',
} as const
type Refusal = keyof typeof REFUSALS

const LIFE_SECONDS = 300
/** Challenges that may wait while one is made. */
const MAX_WAITING = 64
/** Solutions that this process remembers as used, so that the database is not asked for each repetition. */
const MAX_REMEMBERED = 10_000

/** Where no proof of work is asked for. */
const NO_PROOF_OF_WORK: ProofOfWork = {
  isEnabled: false,
  async issue() {
    throw problem('not_found')
  },
  require: async () => {},
  login: (_solution, _caller, work) => work(),
  isNeeded: async () => false,
}

export function createProofOfWork(deps: ProofOfWorkDeps, config: Config['auth']['proofOfWork']): ProofOfWork {
  const { clock, metrics, failures } = deps
  if (!config.enabled) return NO_PROOF_OF_WORK
  const { cost, tries } = config
  const keys = keysOf(deps.secrets)
  const used = new CappedMap<string, true>({ maxSize: MAX_REMEMBERED })
  const inTurn = createTurns()

  async function isSolved({ challenge, solution }: Static<typeof Solved>): Promise<boolean> {
    for (const key of keys) {
      const { verified } = await verifySolution({ challenge, solution, deriveKey, ...key })
      if (verified) return true
    }
    return false
  }

  async function judge(action: Action, text: string | undefined): Promise<Refusal | null> {
    if (!text) return 'missing'
    const solved = read(text)
    if (!solved) return 'malformed'
    const { nonce, data, expiresAt } = solved.challenge.parameters
    if (data.for !== action) return 'other_action'
    if (expiresAt * 1000 <= clock.now()) return 'expired'
    if (used.has(nonce)) return 'used'
    if (!(await isSolved(solved))) return 'wrong'
    // kept for longer than it is valid, because the database has its own clock
    const isFirst = await deps.markUsed(nonce, new Date((expiresAt + LIFE_SECONDS) * 1000))
    used.set(nonce, true)
    return isFirst ? null : 'used'
  }

  async function require(action: Action, text: string | undefined, { client }: { client: Client }): Promise<void> {
    if (client.isExempt) return
    const refusal = await judge(action, text)
    metrics.proofOfWork.inc({ action, outcome: refusal ?? 'success' })
    if (!refusal) return
    const what = refusal === 'missing' ? 'This needs a proof of work.' : 'The proof of work is not valid any more, or is not for this.'
    throw problem('proof_of_work_required', {
      detail: `${what} Get a challenge from GET {auth}/challenge?for=${action}, and send its solution as proof_of_work.`,
      cause: REFUSALS[refusal],
    })
  }

  return {
    isEnabled: true,
    async issue(action) {
      const challenge = await inTurn(() =>
        createChallenge({
          algorithm: 'PBKDF2/SHA-256',
          cost,
          // uniform: a client that gives a challenge up and takes another gains nothing
          counter: randomInt(2 * tries),
          deriveKey,
          data: { for: action },
          expiresAt: Math.floor(clock.now() / 1000) + LIFE_SECONDS,
          ...keys[0]!,
        }),
      )
      metrics.proofOfWork.inc({ action, outcome: 'issued' })
      return challenge as Challenge
    },
    require,
    async login(text, caller, work) {
      if (caller.client.isExempt) return work()
      return failures.counting(caller.client, async (areMany) => {
        if (areMany) await require('login', text, caller)
        return work()
      })
    },
    isNeeded: async (action, client) => !client.isExempt && (action !== 'login' || failures.areMany(client)),
  }
}

/** The keys for signatures, the current ones first. */
function keysOf(secrets: ProofOfWorkDeps['secrets']): { hmacSignatureSecret: string; hmacKeySignatureSecret: string }[] {
  const derived = (purpose: string) =>
    secrets.deriveAll(`proof of work ${purpose}`, Buffer.alloc(0)).map((bytes) => bytes.toString('base64url'))
  const answers = derived('answer')
  return derived('challenge').map((hmacSignatureSecret, i) => ({ hmacSignatureSecret, hmacKeySignatureSecret: answers[i]! }))
}

/** @returns null for what is no solution in form */
function read(text: string): Static<typeof Solved> | null {
  if (text.length > MAX_SOLUTION_LENGTH) return null
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64').toString())
    return Value.Check(Solved, value) ? value : null
  } catch {
    return null
  }
}

/** One at a time: a PBKDF2 keeps one thread of the pool busy, and the others are left to everything else. */
function createTurns() {
  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()
  /** @throws overloaded */
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (waiting >= MAX_WAITING)
      throw problem('overloaded', { cause: 'too many challenges are being made', headers: { 'retry-after': String(drawRetryAfter(4)) } })
    waiting++
    const turn = last.then(work).finally(() => waiting--)
    last = turn.catch(() => {})
    return turn
  }
}
