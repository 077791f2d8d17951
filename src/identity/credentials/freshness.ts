/** Changes of login credentials need a recent authentication: an old session may be in other hands by now. */
import { reauthenticationRequired } from '../access/access-policy.ts'
import type { Principal } from '../access/principal.ts'
import type { User } from '../users/users.repo.ts'

const FRESH_SECONDS = 300

/** @param now milliseconds */
export const isFresh = ({ authenticatedAt }: Principal, now: number): boolean => now / 1000 - authenticatedAt <= FRESH_SECONDS

/** ASVS 7.5.1: a user with a second factor must have used it recently. @throws reauthentication_required */
export function requireFreshFactor(principal: Principal, user: User, now: number): void {
  if (user.mfa_enabled && !(principal.hasFactor && isFresh(principal, now))) throw reauthenticationRequired(FRESH_SECONDS, principal)
}
