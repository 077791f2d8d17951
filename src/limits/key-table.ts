/** What is kept of each key that is counted, bounded: a flood may come from any number of addresses and names. */
import { isIP } from 'node:net'

const BUCKETS = 1024

export interface KeyTableOptions<S> {
  maxKeys: number
  /** @param name the key, or the bucket that it shares */
  make(name: string): S
  /** Nothing is lost when it is made anew. */
  isOver(state: S): boolean
}

/**
 * @returns finds the state of a key, or makes it. With `maxKeys` known a new one shares a bucket with its neighbours of the same /24 or /48
 *   (and others by hash); those that are known stay as they are
 */
export function createKeyTable<S>({ maxKeys, make, isOver }: KeyTableOptions<S>): (key: string) => S {
  const known = new Map<string, S>()
  const shared = new Map<string, S>()

  /** Each newcomer looks at the two that nobody looked at for longest. */
  function makeRoom(): void {
    let looks = 2
    for (const [key, state] of known) {
      if (looks-- === 0) return
      known.delete(key)
      if (!isOver(state)) known.set(key, state)
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

/** The same on every gateway: in Redis they are one key. */
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
