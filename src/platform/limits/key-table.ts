/** Keeps a state for each counted key. The table is bounded, because a flood may come with any number of addresses and names. */
import { isIP } from 'node:net'

const BUCKETS = 1024
const MAX_KEYS = 100_000

export interface KeyTableOptions<S> {
  maxKeys?: number
  /** @param name the key, or the bucket that it shares */
  make(name: string): S
  /** The state may be dropped: a new state would be the same. */
  isOver(state: S): boolean
}

/**
 * @returns finds the state of a key, or makes it. When `maxKeys` keys are known, a new key shares a bucket with the addresses of its /24 or
 * /48 (and with others, by hash). Known keys keep their own state
 */
export function createKeyTable<S>({ maxKeys = MAX_KEYS, make, isOver }: KeyTableOptions<S>): (key: string) => S {
  const known = new Map<string, S>()
  const shared = new Map<string, S>()

  /** Walks round the table without end: each new key checks the next two entries. */
  let hand = known.entries()
  function makeRoom(): void {
    for (let looks = 0; looks < 2; looks++) {
      const { value, done } = hand.next()
      if (done) hand = known.entries()
      else if (isOver(value[1])) known.delete(value[0])
    }
  }

  return (key) => {
    const found = known.get(key)
    if (found !== undefined) return found
    makeRoom()
    const isFull = known.size >= maxKeys
    const [table, name] = isFull ? [shared, bucketOf(key)] : [known, key]
    const state = table.get(name) ?? make(name)
    table.set(name, state)
    return state
  }
}

/** The same bucket on every gateway: in Redis it is one key. */
function bucketOf(key: string): string {
  const neighbours =
    isIP(key) === 4 ? key.slice(0, key.lastIndexOf('.')) : key.endsWith('::/64') ? key.split(':').slice(0, 3).join(':') : key
  return `bucket ${hash(neighbours) % BUCKETS}`
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0
  return h
}
