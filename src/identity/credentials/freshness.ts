/** Who changes how an account is got into has to have shown just now that it is them: what was shown long ago may be somebody else's by now. */
import { reauthenticationRequired } from '../access/access-policy.ts'
import type { Principal } from '../access/principal.ts'
import type { User } from '../users/users.repo.ts'

const FRESH_SECONDS = 300

/** @param now milliseconds */
export const isFresh = ({ authenticatedAt }: Principal, now: number): boolean => now / 1000 - authenticatedAt <= FRESH_SECONDS

/** ASVS 7.5.1: a password alone does not speak for who has a second factor. @throws reauthentication_required */
export function requireFreshFactor(principal: Principal, user: User, now: number): void {
  if (user.mfa_enabled && !(principal.hasFactor && isFresh(principal, now))) throw reauthenticationRequired(FRESH_SECONDS, principal)
}
