import { afterAll, describe, expect, it } from 'vitest'
import { createHasher, type Hasher } from '../../../src/identity/credentials/hasher.ts'
import { createPasswords, type Passwords } from '../../../src/identity/credentials/passwords.ts'
import type { Problem } from '../../../src/platform/lib/errors.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const options = (over: object) => ({
  minLength: 12,
  breachCheck: { enabled: false, url: '', timeoutMs: 1 },
  argon2: { memoryKiB: 1024, passes: 1, concurrency: 2, queue: 3, ...over },
})
const opened: Passwords[] = []
/** One process for all that hash at this cost. */
const cheap = createHasher(options({}).argon2, 2)
const shared: Hasher = { ...cheap, close() {} }
async function make(over: object = {}, hasher = shared): Promise<Passwords> {
  const passwords = await createPasswords(options(over), createMetrics('test'), hasher)
  opened.push(passwords)
  return passwords
}
const makeAt = async (cost: { memoryKiB?: number; passes?: number }): Promise<Passwords> =>
  make(cost, createHasher(options(cost).argon2, 2))
afterAll(() => {
  for (const { close } of opened) close()
  cheap.close()
})
const outcomes = async (work: Promise<unknown>[]) =>
  (await Promise.allSettled(work)).map((r) => (r.status === 'fulfilled' ? 'done' : ((r.reason as Problem).code ?? String(r.reason))))
const times = <T>(n: number, work: () => T): T[] => Array.from({ length: n }, work)

/** Knows what is really being computed. */
function watched(real: Hasher): Hasher & { peak(): number; hashes: string[] } {
  let [peak, running] = [0, 0]
  const count = <T>(work: Promise<T>): Promise<T> => {
    peak = Math.max(peak, ++running)
    return work.finally(() => running--)
  }
  const hashes: string[] = []
  return {
    hash: (password) => count(real.hash(password)),
    verify(hash, password) {
      hashes.push(hash)
      return count(real.verify(hash, password))
    },
    close: real.close,
    peak: () => peak,
    hashes,
  }
}

describe('the gate before argon2', () => {
  it.each([1, 2, 3])('lets never more than concurrency through at a time (%i)', async (concurrency) => {
    const hasher = watched(shared)
    const passwords = await make({ concurrency, queue: 100 }, hasher)
    const hash = await passwords.hash('correct horse battery')
    await Promise.all([...times(6, () => passwords.hash('x'.repeat(20))), ...times(6, () => passwords.verify(hash, 'wrong'))])
    expect(hasher.peak()).toBe(concurrency)
  })

  it('turns away who finds the queue full: overloaded, with Retry-After; those who wait are served', async () => {
    const passwords = await make()
    expect(await outcomes(times(8, () => passwords.hash('correct horse battery')))).toEqual([
      ...times(5, () => 'done'),
      ...times(3, () => 'overloaded'),
    ])
    const work = times(6, () => passwords.verify(null, 'correct horse battery'))
    const refusal = (await Promise.allSettled(work)).find((r) => r.status === 'rejected')!.reason as Problem
    expect(refusal.status).toBe(503)
    expect(refusal.headers['retry-after']).toMatch(/^[1-4]$/)
  })

  it('refuses at once what it cannot hash, before its work begins, and never refuses what has a slot', async () => {
    const passwords = await make({ concurrency: 1, queue: 2 })
    const begun: number[] = []
    let open: () => void = () => {}
    const looked = new Promise<void>((resolve) => {
      open = resolve
    })
    const enter = (n: number) =>
      passwords.admit('stranger', async (slot) => {
        begun.push(n)
        // the look-ups of a login
        await looked
        await passwords.verify(null, 'x', slot)
        return passwords.hash('correct horse battery', slot)
      })
    const entered = [1, 2, 3, 4, 5].map(enter)
    expect(await outcomes(entered.slice(3))).toEqual(['overloaded', 'overloaded'])
    expect(begun).toEqual([1, 2, 3])
    // what comes without a slot finds none, and known devices have their own
    expect(() => passwords.assertRoom()).toThrow()
    expect(await outcomes([passwords.hash('x')])).toEqual(['overloaded'])
    expect(() => passwords.assertRoom('known')).not.toThrow()
    open()
    expect(await outcomes(entered.slice(0, 3))).toEqual(['done', 'done', 'done'])
    expect(await outcomes([enter(6)])).toEqual(['done'])
  })

  it('of known devices is bounded, too: a slot for which their lane has no room waits in its own', async () => {
    const passwords = await make({ concurrency: 1, queue: 2 })
    const enter = () =>
      passwords.admit('stranger', async (slot) => {
        slot.moveTo('known')
        return passwords.verify(null, 'x', slot)
      })
    // one is computed, and two wait in each lane
    const entered = Array.from({ length: 20 }, enter)
    expect((await outcomes(entered)).filter((outcome) => outcome === 'overloaded')).toHaveLength(15)
    expect(await outcomes([enter()])).toEqual(['done'])
  })

  it('computes nothing before its permit, and gives each permit back', async () => {
    const metrics = createMetrics('test')
    const hasher = watched(shared)
    const taken: (() => void)[] = []
    let given = 0
    const permit = () => new Promise<() => void>((resolve) => taken.push(() => resolve(() => given++)))
    const passwords = await createPasswords(options({ concurrency: 1, queue: 5 }), metrics, hasher, permit)
    const gaugeOf = async (name: string) => (await metrics.registry.getSingleMetric(`portcullis_argon2_${name}`)!.get()).values[0]!.value
    const gauges = async () => [await gaugeOf('in_flight'), await gaugeOf('queued')]
    const work = [passwords.hash('correct horse battery'), passwords.verify('this is no hash', 'x').catch(() => 'failed')]
    await new Promise((resolve) => setImmediate(resolve))
    expect([hasher.peak(), ...(await gauges())]).toEqual([0, 0, 2])
    taken[0]!()
    await work[0]
    await new Promise((resolve) => setImmediate(resolve))
    taken[1]!()
    expect(await work[1]).toBe('failed')
    expect([given, taken.length, ...(await gauges())]).toEqual([2, 2, 0, 0])
  })

  it('gives a slot back when the work fails before its hash, or moves to a lane without room', async () => {
    const passwords = await make({ concurrency: 1, queue: 0 })
    const failing = () =>
      passwords.admit('known', async () => {
        throw new Error('no database')
      })
    for (let i = 0; i < 3; i++) await expect(failing()).rejects.toThrow('no database')
    await passwords.admit('stranger', async () => {
      const moved = passwords.admit('known', async (slot) => slot.moveTo('stranger'))
      expect(await outcomes([moved])).toEqual(['overloaded'])
      expect(() => passwords.assertRoom('known')).not.toThrow()
    })
    expect(() => passwords.assertRoom()).not.toThrow()
  })

  it('is the same for a user who does not exist', async () => {
    const passwords = await make({ concurrency: 1, queue: 0 })
    const hash = await passwords.hash('correct horse battery')
    expect(await outcomes([passwords.verify(null, 'x'), passwords.verify(hash, 'x')])).toEqual(['done', 'overloaded'])
  })

  it('is open again after work that failed', async () => {
    const passwords = await make({ concurrency: 1, queue: 1 })
    const broken = () => passwords.verify('this is no hash', 'x')
    for (let i = 0; i < 3; i++) await expect(broken()).rejects.toThrow()
    expect(await outcomes([broken(), passwords.hash('correct horse battery')])).toEqual([expect.any(String), 'done'])
    expect(await outcomes(times(2, () => passwords.hash('correct horse battery')))).toEqual(['done', 'done'])
  })
})

describe('a password', () => {
  it('matches its own hash and no other, and a user who does not exist has none', async () => {
    const passwords = await make()
    const hash = await passwords.hash('correct horse battery')
    expect(hash).toMatch(/^\$argon2id\$v=19\$/)
    expect(await passwords.verify(hash, 'correct horse battery')).toBe(true)
    expect(await passwords.verify(hash, 'correct horse batterY')).toBe(false)
    expect(await passwords.verify(null, 'nobody has this password')).toBe(false)
    expect(await passwords.hash('correct horse battery')).not.toBe(hash)
  })

  it('is computed for a user who does not exist at the same cost', async () => {
    const cost = { memoryKiB: 2048, passes: 3 }
    const hasher = watched(createHasher(options(cost).argon2, 2))
    const passwords = await make(cost, hasher)
    await passwords.verify(null, 'x')
    expect(passwords.needsRehash(hasher.hashes[0]!)).toBe(false)
  })

  it('costs two hashes at every account when it is not in its normal form, right or wrong', async () => {
    const hasher = watched(shared)
    const passwords = await make({ concurrency: 1 }, hasher)
    const typed = 'cafe\u0301 cre\u0300me'
    const own = await passwords.hash(typed)
    for (const [hash, password] of [
      [own, typed],
      [own, `${typed}x`],
      [null, typed],
    ] as const) {
      hasher.hashes.length = 0
      await passwords.verify(hash, password)
      expect(hasher.hashes).toHaveLength(2)
    }
    hasher.hashes.length = 0
    await passwords.verify(own, typed.normalize('NFC'))
    expect(hasher.hashes).toHaveLength(1)
    expect(hasher.peak()).toBe(1)
  })

  it('is the same however its accents were typed', async () => {
    const passwords = await make()
    const composed = 'caf\u00e9 cr\u00e8me'
    expect(await passwords.verify(await passwords.hash(composed.normalize('NFD')), composed)).toBe(true)
  })

  it('needs a new hash when any cost has changed', async () => {
    const hash = await (await make()).hash('correct horse battery')
    expect((await make()).needsRehash(hash)).toBe(false)
    expect((await makeAt({ passes: 2 })).needsRehash(hash)).toBe(true)
    expect((await makeAt({ memoryKiB: 2048 })).needsRehash(hash)).toBe(true)
  })
})
