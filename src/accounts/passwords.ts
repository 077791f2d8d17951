/** Password hashes behind a semaphore and a bounded queue, so that logins cannot take the machine from the proxied traffic. */
import argon2 from 'argon2'
import type { Config } from '../config/schema.ts'
import { type Problem, problem } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { createHasher, type Hasher } from './hasher.ts'

/** Longer ones are refused, never cut. */
export const MAX_PASSWORD_BYTES = 1024

export interface Passwords {
  /** Asked before anything else is done for a request that will need a hash: who would be turned away then is turned away now. @throws overloaded */
  demandRoom(): void
  hash(password: string): Promise<string>
  /** The same work for a user who does not exist: pass null. */
  verify(hash: string | null, password: string): Promise<boolean>
  needsRehash(hash: string): boolean
  close(): void
}

/** One password, however it was typed: NIST SP 800-63B §3.1.1.2 asks for a Unicode normal form before hashing. */
const normal = (password: string) => password.normalize('NFC')

export async function createPasswords(
  options: Config['auth']['password'],
  metrics: Metrics,
  hasher: Hasher = createHasher(options.argon2, options.argon2.concurrency),
): Promise<Passwords> {
  const { memoryKiB, passes, concurrency, queue } = options.argon2
  const parameters = { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: 1 } as const
  const gate = createGate(concurrency, queue, metrics)
  const dummy = await argon2.hash('nobody has this password', parameters)

  return {
    demandRoom: gate.demandRoom,
    hash: (password) => gate.pass(() => hasher.hash(normal(password))),
    async verify(hash, password) {
      const matches = await gate.pass(() => hasher.verify(hash ?? dummy, normal(password)))
      return matches && hash !== null
    },
    needsRehash: (hash) => argon2.needsRehash(hash, parameters),
    close: hasher.close,
  }
}

/** At most `concurrency` at a time and `queue` waiting. The permit belongs to the work: a client that leaves does not free it early. */
function createGate(concurrency: number, queue: number, metrics: Metrics) {
  let running = 0
  const waiting: (() => void)[] = []
  metrics.argon2InFlight.collectFrom(() => running)
  metrics.argon2Queued.collectFrom(() => waiting.length)

  function refuse(): Problem {
    metrics.argon2Rejected.inc()
    // some jitter, so that those who were turned away do not return together
    const retryAfter = String(1 + Math.floor(Math.random() * 4))
    return problem('overloaded', { cause: 'the password queue is full', headers: { 'retry-after': retryAfter } })
  }
  const isFull = () => running >= concurrency && waiting.length >= queue

  return {
    demandRoom() {
      if (isFull()) throw refuse()
    },
    async pass<T>(work: () => Promise<T>): Promise<T> {
      if (isFull()) throw refuse()
      if (running >= concurrency) await new Promise<void>((resolve) => waiting.push(resolve))
      else running++
      try {
        return await work()
      } finally {
        const next = waiting.shift()
        if (next) next()
        else running--
      }
    },
  }
}
