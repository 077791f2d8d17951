/** Hashes passwords behind a semaphore and a bounded queue, so that logins leave enough CPU for the proxied traffic. */
import argon2 from 'argon2'
import type { Config } from '../../platform/config/schema.ts'
import { drawRetryAfter, type Problem, problem } from '../../platform/lib/errors.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { recorded } from '../../platform/telemetry/recording.ts'
import { NO_PASSWORD } from '../users/users.repo.ts'
import { createHasher, type Hasher } from './hasher.ts'

/** In traces: a hash, with its wait in the queue. */
const SPAN = 'password hash'

/** Longer passwords are refused, never cut. */
export const MAX_PASSWORD_BYTES = 1024

/** Known devices have a queue of their own, which goes first: a flood of other logins does not keep them out. */
export type Lane = 'known' | 'stranger'

/** The right to a hash. A request with a slot is never refused later. */
export interface QueueSlot {
  /** To the lane `known` only if it has room: otherwise the slot stays. @throws overloaded when the lane `stranger` is full */
  moveTo(lane: Lane): void
}

/** Resolves when this process may compute a hash. @returns what must be called after it */
export type HashPermit = () => Promise<() => void>

export interface Passwords {
  /** Called before any other work of a request that needs a hash, so that a full queue refuses it early. @throws overloaded */
  assertRoom(lane?: Lane): void
  /**
   * Takes a slot in the queue before any other work of a request. Without slots, a burst of requests would find room, work in the
   * database together, and be refused only then. @throws overloaded, at once
   */
  admit<T>(lane: Lane, work: (slot: QueueSlot) => Promise<T>): Promise<T>
  /** @param from where it waits. Default: stranger */
  hash(password: string, from?: Lane | QueueSlot): Promise<string>
  /**
   * Pass null for a user who does not exist: the work is the same. An imported hash is checked with its own algorithm, and takes at least
   * as long. A password that is too long matches nothing.
   *
   * The password matches in its normal form and as it was typed, since another program may have hashed it without a normal form. The
   * second hash is computed for every account when the two forms differ, so the time does not show which account was imported.
   * @param from where it waits. Default: stranger
   */
  verify(hash: string | null, password: string, from?: Lane | QueueSlot): Promise<boolean>
  /** @returns true for a hash of another kind than Argon2id, or with other parameters than configured */
  needsRehash(hash: string): boolean
  close(): void
}

/** NIST SP 800-63B §3.1.1.2 asks for a Unicode normal form before hashing: keyboards encode the same password differently. */
export const normalPassword = (password: string) => password.normalize('NFC')

export async function createPasswords(
  options: Config['auth']['password'],
  metrics: Metrics,
  hasher: Hasher = createHasher(options.argon2, options.argon2.concurrency),
  permit?: HashPermit,
): Promise<Passwords> {
  const { memoryKiB, passes, concurrency, queue } = options.argon2
  const parameters = { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: 1 } as const
  const gate = createGate(concurrency, queue, metrics, permit)
  const dummy = await argon2.hash('nobody has this password', parameters)
  const isCurrent = (hash: string) => hash.startsWith('$argon2id$') && !argon2.needsRehash(hash, parameters)

  async function verifyForm(hash: string | null, form: string): Promise<boolean> {
    if (hash === null) {
      await hasher.verify(dummy, '')
      return false
    }
    if (isCurrent(hash)) return hasher.verify(hash, form)
    // the second hash hides by its time that the account has a cheap hash
    const [matches] = await Promise.all([hasher.verify(hash, form), hasher.verify(dummy, '')])
    return matches
  }

  return {
    assertRoom: gate.assertRoom,
    admit: gate.admit,
    hash: (password, from) => recorded(SPAN, 'internal', {}, () => gate.pass(() => hasher.hash(normalPassword(password)), from)),
    async verify(hash, typed, from) {
      const password = normalPassword(typed)
      const isPossible = hash !== null && hash !== NO_PASSWORD && Buffer.byteLength(password) <= MAX_PASSWORD_BYTES
      const forms = typed === password ? [password] : [password, typed]
      const compare = async () => {
        let matches = false
        for (const form of forms) if (await verifyForm(isPossible ? hash : null, form)) matches = true
        return matches
      }
      return recorded(SPAN, 'internal', {}, () => gate.pass(compare, from))
    },
    needsRehash: (hash) => !isCurrent(hash),
    close: hasher.close,
  }
}

/**
 * Runs at most `concurrency` jobs at a time, with at most `queue` waiting in each lane. A client that disconnects does not free its permit
 * early.
 */
function createGate(concurrency: number, queue: number, metrics: Metrics, permit?: HashPermit) {
  let running = 0
  /** Of those that run: they wait for other processes. */
  let awaiting = 0
  const waiting: Record<Lane, (() => void)[]> = { known: [], stranger: [] }
  /** Slots of requests that have not come to their hash yet. */
  const coming: Record<Lane, number> = { known: 0, stranger: 0 }
  /** Called when a request comes to its hash. They return the lane of its slot. */
  const arrivals = new WeakMap<QueueSlot, () => Lane>()
  metrics.argon2InFlight.collectFrom(() => running - awaiting)
  metrics.argon2Queued.collectFrom(() => waiting.known.length + waiting.stranger.length + awaiting)

  function refuse(): Problem {
    metrics.argon2Rejected.inc()
    return problem('overloaded', { cause: 'the password queue is full', headers: { 'retry-after': String(drawRetryAfter(4)) } })
  }
  const hasRoom = (lane: Lane) => coming[lane] + waiting[lane].length < queue + concurrency - running
  function assertRoom(lane: Lane = 'stranger'): void {
    if (!hasRoom(lane)) throw refuse()
  }

  async function withPermit<T>(take: HashPermit, work: () => Promise<T>): Promise<T> {
    awaiting++
    const give = await take().finally(() => awaiting--)
    return work().finally(give)
  }

  return {
    assertRoom,
    async admit<T>(lane: Lane, work: (slot: QueueSlot) => Promise<T>): Promise<T> {
      assertRoom(lane)
      let own = lane
      let isComing = true
      coming[own]++
      const arrive = () => {
        if (isComing) coming[own]--
        isComing = false
        return own
      }
      const slot: QueueSlot = {
        moveTo(other) {
          if (!isComing || own === other || (other === 'known' && !hasRoom(other))) return
          assertRoom(other)
          coming[own]--
          coming[other]++
          own = other
        },
      }
      arrivals.set(slot, arrive)
      return work(slot).finally(arrive)
    },
    async pass<T>(work: () => Promise<T>, from: Lane | QueueSlot = 'stranger'): Promise<T> {
      if (typeof from === 'string') assertRoom(from)
      // the lane of a slot had room for it
      const lane = typeof from === 'string' ? from : arrivals.get(from)!()
      if (running >= concurrency) await new Promise<void>((resolve) => waiting[lane].push(resolve))
      else running++
      try {
        return await (permit ? withPermit(permit, work) : work())
      } finally {
        const next = waiting.known.shift() ?? waiting.stranger.shift()
        if (next) next()
        else running--
      }
    },
  }
}
