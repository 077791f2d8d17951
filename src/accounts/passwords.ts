/** Argon2id (RFC 9106) behind a semaphore and a bounded queue, so that logins cannot take the process from the proxied traffic. */
import argon2 from 'argon2'
import type { Config } from '../config/schema.ts'
import { problem } from '../errors.ts'
import type { Metrics } from '../metrics.ts'

/** Longer ones are refused, never cut. */
export const MAX_PASSWORD_BYTES = 1024

export interface Passwords {
  hash(password: string): Promise<string>
  /** The same work for a user who does not exist: pass null. */
  verify(hash: string | null, password: string): Promise<boolean>
  needsRehash(hash: string): boolean
}

/** One password, however it was typed: NIST SP 800-63B §3.1.1.2 asks for a Unicode normal form before hashing. */
const normal = (password: string) => password.normalize('NFC')

export async function createPasswords(options: Config['auth']['password'], metrics: Metrics): Promise<Passwords> {
  const { memoryKiB, passes, concurrency, queue } = options.argon2
  const parameters = { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: 1 } as const
  const gate = createGate(concurrency, queue, metrics)
  const dummy = await argon2.hash('nobody has this password', parameters)

  return {
    hash: (password) => gate(() => argon2.hash(normal(password), parameters)),
    async verify(hash, password) {
      const matches = await gate(() => argon2.verify(hash ?? dummy, normal(password)))
      return matches && hash !== null
    },
    needsRehash: (hash) => argon2.needsRehash(hash, parameters),
  }
}

/** At most `concurrency` at a time and `queue` waiting. The permit belongs to the work: a client that leaves does not free it early. */
function createGate(concurrency: number, queue: number, metrics: Metrics) {
  let running = 0
  const waiting: (() => void)[] = []
  metrics.argon2InFlight.collectFrom(() => running)
  metrics.argon2Queued.collectFrom(() => waiting.length)

  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= queue) {
        metrics.argon2Rejected.inc()
        // some jitter, so that those who were turned away do not return together
        const retryAfter = String(1 + Math.floor(Math.random() * 4))
        throw problem('overloaded', { cause: 'the password queue is full', headers: { 'retry-after': retryAfter } })
      }
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else running++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
