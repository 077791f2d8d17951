/** Keeps a table of counters in memory from growing with the number of clients: a flood may come from any number of addresses and names. */

const BUCKETS = 1024

/**
 * @param maxKeys beyond these a new key shares one of 1024 buckets; keys that count already go on as they are
 * @returns the key to count under
 */
export function createKeyBound(maxKeys: number, windowMs: number, now: () => number): (key: string) => string {
  /** In the order of their windows' ends, since all windows are of one length. */
  const ends = new Map<string, number>()
  return (key) => {
    const time = now()
    for (const [oldest, end] of ends) {
      if (end > time) break
      ends.delete(oldest)
    }
    if (ends.has(key)) return key
    if (ends.size >= maxKeys) return `bucket ${hash(key) % BUCKETS}`
    ends.set(key, time + windowMs)
    return key
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0
  return h
}
