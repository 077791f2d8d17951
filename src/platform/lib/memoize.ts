/**
 * Made at the first look, looked up afterwards.
 * @param max what is asked for beyond these is made anew each time: for keys that clients choose
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
