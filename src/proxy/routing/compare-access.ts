/** Compares access policies as sets of callers: who passes one and not the other. */
import type { Access } from '../../identity/access/access-policy.ts'
import type { Principal } from '../../identity/access/principal.ts'
import { createRoles, type Grants, knownRoles } from '../../identity/users/roles.ts'
import type { Config } from '../../platform/config/schema.ts'

/** A caller as far as roles and scopes decide. */
export interface Holder extends Grants {
  /** For people, such as `role billing` */
  text: string
}

export interface CompareAccess {
  /** Callers who pass the first policy and not the second, in words. Null: there is none. */
  laxer(lax: Access, strict: Access): string | null
  /** A user who has every role that is defined. */
  everyRole: Holder
}

/** More pairs are not tried: the number grows with the square. */
const MAX_PAIRED = 30

/** A caller with more than an admitted caller is admitted too, so the smallest holders decide: one role, two roles, one scope. */
export function createCompareAccess({ auth }: Pick<Config, 'auth'>): CompareAccess {
  const grantsOf = createRoles(auth.roles)
  const names = knownRoles(auth.roles)
  const withRoles = (roles: string[]): Holder => ({
    ...grantsOf(roles),
    text: `${roles.length > 1 ? 'roles' : 'role'} ${roles.join(' and ')}`,
  })
  const pairs = names.length > MAX_PAIRED ? [] : names.flatMap((a, i) => names.slice(i + 1).map((b) => withRoles([a, b])))
  const byRoles = [...names.map((name) => withRoles([name])), ...pairs]

  function laxer(lax: Access, strict: Access): string | null {
    const holders = [...byRoles, ...[lax.scopes, ...lax.scopes.map((scope) => [scope])].filter((s) => s.length > 0).map(withScopes)]
    const found = holders.find((holder) => admits(lax, holder) && !admits(strict, holder))
    if (found) return found.text
    if (!holders.some((holder) => admits(lax, holder) && admits(strict, holder))) return null
    if (strict.needsFactor && !lax.needsFactor) return 'a caller without a second factor'
    const [longest, shortest] = [lax.maxAuthAgeSeconds, strict.maxAuthAgeSeconds]
    return shortest !== null && (longest === null || longest > shortest) ? `a login older than ${shortest} s` : null
  }

  return { laxer, everyRole: withRoles(names) }
}

const withScopes = (scopes: readonly string[]): Holder => ({ roles: [], scopes: [...scopes], text: `scope ${scopes.join(' and ')}` })

/** Without the second factor and the age of the login. */
export const admits = (access: Access, { roles, scopes }: Grants): boolean =>
  access.rank < 2 || access.permits({ roles: new Set(roles), scopes: new Set(scopes) } as unknown as Principal)
