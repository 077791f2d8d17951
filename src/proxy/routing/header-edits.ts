/** The operator's changes to header sections, compiled once at start. */
import type { RouteConfig } from '../../platform/config/schema.ts'

/** The changes to one header section. Names in lower case. */
export interface HeaderEdits {
  /** Fields with these names are dropped: the names of `remove` and of `set`. Folded for requests (see reserved-headers.ts). */
  dropped: ReadonlySet<string>
  /** Name, value, name, value … */
  set: readonly string[]
}

export const NO_EDITS: HeaderEdits = { dropped: new Set(), set: [] }

export function compileEdits(
  { set, remove }: { set: Record<string, string>; remove: string[] },
  fold: (name: string) => string,
  besides?: string,
): HeaderEdits {
  const fields = Object.entries(set)
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => name !== besides)
  const dropped = [...remove.map((name) => name.toLowerCase()), ...fields.map(([name]) => name)].map(fold)
  return { dropped: new Set(dropped), set: fields.flat() }
}

/** The same edits, where neither the upstream nor the operator may send these fields. @param fields in lower case */
export function withoutFields({ dropped, set }: HeaderEdits, fields: Iterable<string>): HeaderEdits {
  const refused = new Set(fields)
  const left: string[] = []
  for (let i = 0; i < set.length; i += 2) if (!refused.has(set[i]!)) left.push(set[i]!, set[i + 1]!)
  return { dropped: new Set([...dropped, ...refused]), set: left }
}

export function compileResponseEdits(edits: RouteConfig['headers']['response'], namesUs: boolean): HeaderEdits {
  const { dropped, set } = compileEdits(edits, (name) => name)
  // RFC 9110 §7.6.3; it stands after the upstream's own Via
  return { dropped, set: namesUs && !dropped.has('via') ? [...set, 'via', '1.1 portcullis'] : set }
}
