import type { Config } from '../config/schema.ts'

export interface Grants {
  roles: string[]
  scopes: string[]
}

/** A user's own roles with all that they inherit, and the scopes of these; both sorted. Names that the config does not know stay roles. */
export function createRoles(defined: Config['auth']['roles']): (own: readonly string[]) => Grants {
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
