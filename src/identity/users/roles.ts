import type { Config } from '../../platform/config/schema.ts'

type DefinedRoles = Config['auth']['roles']

export interface Grants {
  roles: string[]
  scopes: string[]
}

/** No role comes from the caller: whoever registers is a `user`. */
export const FIRST_ROLES = ['user']

/** A user's own roles with all that they inherit, and the scopes of these; both sorted. Names that the config does not know stay roles. */
export function createRoles(defined: DefinedRoles): (own: readonly string[]) => Grants {
  return (own) => {
    const roles = new Set<string>()
    const queue = [...own]
    for (let role = queue.pop(); role !== undefined; role = queue.pop()) {
      if (roles.has(role)) continue
      roles.add(role)
      queue.push(...(defined[role]?.inherits ?? []))
    }
    const scopes = new Set([...roles].flatMap((r) => defined[r]?.scopes ?? []))
    return { roles: [...roles].sort(), scopes: [...scopes].sort() }
  }
}

/** What may be granted, sorted: what the configuration names, what our own endpoints demand, and what whoever registers is. */
export const knownRoles = (defined: DefinedRoles): string[] => [...new Set([...Object.keys(defined), 'admin', 'user'])].sort()

/** Those whose holders may administer: `admin`, and what inherits it. */
export function adminRoles(defined: DefinedRoles): string[] {
  const grantsOf = createRoles(defined)
  return knownRoles(defined).filter((role) => grantsOf([role]).roles.includes('admin'))
}
