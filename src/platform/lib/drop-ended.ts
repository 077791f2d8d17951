/** Keeps a cache as small as what is still of use in it: without this, what has ended stays until the cache is full. */
import type { LRUCache } from 'lru-cache'

/** More than one, so that the cache gets smaller again after a burst. */
const PER_INSERTION = 2

/** Call it after an insertion. It removes the values that nobody has used for the longest time, as long as they have ended. */
export function dropEnded<V extends object | number>(cache: LRUCache<string, V>, hasEnded: (value: V) => boolean): void {
  for (let i = 0; i < PER_INSERTION; i++) {
    const oldest = cache.rkeys().next()
    if (oldest.done || !hasEnded(cache.peek(oldest.value)!)) return
    cache.delete(oldest.value)
  }
}
