/**
 * Names a claim without doubt. A path that begins with `/` is a JSON Pointer (RFC 6901), such as `/realm_access/roles`. Any other path is the
 * name of one claim, whatever characters it has, such as `https://example.com/roles`.
 */
export type ReadClaim = (claims: object) => unknown

/** @returns reads the claim; undefined where there is none. A list is a value: no path leads into it */
export function compileClaimPath(path: string): ReadClaim {
  const names = path.startsWith('/') ? path.slice(1).split('/').map(unescapeName) : [path]
  return (claims) => names.reduce<unknown>(member, claims)
}

/** RFC 6901 §4: in this order. */
const unescapeName = (name: string): string => name.replaceAll('~1', '/').replaceAll('~0', '~')

const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined

/** @returns the items of a list, or the value as the only item */
export function itemsOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : [value]
}
