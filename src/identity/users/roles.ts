import type { Config } from '../../platform/config/schema.ts'

type DefinedRoles = Config['auth']['roles']

export interface Grants {
  roles: string[]
  scopes: string[]
}

/** The roles of a newly registered user. The client cannot choose them. */
export const FIRST_ROLES = ['user']

/**
 * Adds inherited roles to granted roles, and collects their scopes. Both are sorted. Roles that the configuration does not define are kept.
 */
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

/** The roles that may be granted, sorted: the configured roles, and the built-in roles `admin` and `user`. */
export const knownRoles = (defined: DefinedRoles): string[] => [...new Set([...Object.keys(defined), 'admin', 'user'])].sort()

/** The roles of administrators: `admin`, and every role that inherits it. */
export function adminRoles(defined: DefinedRoles): string[] {
  const grantsOf = createRoles(defined)
  return knownRoles(defined).filter((role) => grantsOf([role]).roles.includes('admin'))
}
