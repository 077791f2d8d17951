/** The JSON Merge Patch (RFC 7396) that leads from one object to another. */

type Members = { [name: string]: unknown }

const isObject = (value: unknown): value is Members => typeof value === 'object' && value !== null && !Array.isArray(value)

/** @param wanted holds no null outside of lists: a merge patch cannot write one. @returns an empty object when nothing differs */
export function mergePatchBetween(before: Members, wanted: Members): Members {
  const patch = new Map<string, unknown>()
  for (const name of Object.keys(before)) if (!Object.hasOwn(wanted, name)) patch.set(name, null)
  for (const [name, value] of Object.entries(wanted)) {
    const old = Object.hasOwn(before, name) ? before[name] : undefined
    if (!isObject(value) || !isObject(old)) {
      if (JSON.stringify(old) !== JSON.stringify(value)) patch.set(name, value)
      continue
    }
    const changes = mergePatchBetween(old, value)
    if (Object.keys(changes).length > 0) patch.set(name, changes)
  }
  return Object.fromEntries(patch)
}
