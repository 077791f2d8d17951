import type { Grants } from '../users/roles.ts'
import type { OAuthClient } from './clients.repo.ts'

/** A machine's roles with all that they inherit, and its scopes with those of its roles; both sorted. */
export function grantsOfClient(
  { roles, scopes }: Pick<OAuthClient, 'roles' | 'scopes'>,
  grantsOf: (roles: readonly string[]) => Grants,
): Grants {
  const given = grantsOf(roles)
  return { roles: given.roles, scopes: [...new Set([...scopes, ...given.scopes])].sort() }
}
