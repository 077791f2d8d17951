import type { Grants } from '../users/roles.ts'
import type { OAuthClient } from './clients.repo.ts'

/** The roles of a machine client with all inherited roles, and its scopes with the scopes of these roles. Both are sorted. */
export function grantsOfClient(
  { roles, scopes }: Pick<OAuthClient, 'roles' | 'scopes'>,
  grantsOf: (roles: readonly string[]) => Grants,
): Grants {
  const given = grantsOf(roles)
  return { roles: given.roles, scopes: [...new Set([...scopes, ...given.scopes])].sort() }
}
