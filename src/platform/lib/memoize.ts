/**
 * Makes the value of each key once and keeps it.
 * @param max number of values to keep, for keys that clients choose; values of further keys are made anew at each call
 */
export function memoize<K, V>(make: (key: K) => V, max = Number.POSITIVE_INFINITY): (key: K) => V {
  const known = new Map<K, V>()
  return (key) => {
    const found = known.get(key)
    if (found !== undefined) return found
    const made = make(key)
    if (known.size < max) known.set(key, made)
    return made
  }
}
