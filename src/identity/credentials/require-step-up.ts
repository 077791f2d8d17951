/**
 * The step-up rule: a change of what can log in needs a recent authentication, with the second factor where the user has one (ASVS 7.5.1).
 * An old session may be in other hands by now, and a password alone may be known to others.
 */
import { reauthenticationRequired } from '../access/access-policy.ts'
import type { Principal } from '../access/principal.ts'
import type { User } from '../users/users.repo.ts'

/** For changes of the caller's own account. */
export const STEP_UP_SECONDS = 300

/**
 * @param user the caller's account
 * @param now milliseconds
 * @throws reauthentication_required
 */
export function requireStepUp(principal: Principal, user: Pick<User, 'mfa_enabled'>, now: number, maxAgeSeconds = STEP_UP_SECONDS): void {
  if (!hasStepUp(principal, user, now, maxAgeSeconds)) throw reauthenticationRequired(maxAgeSeconds, principal)
}

/** Whether the rule holds without a further proof. @param now milliseconds */
export function hasStepUp(principal: Principal, user: Pick<User, 'mfa_enabled'>, now: number, maxAgeSeconds = STEP_UP_SECONDS): boolean {
  const isRecent = now / 1000 - principal.authenticatedAt <= maxAgeSeconds
  return isRecent && (principal.hasFactor || !user.mfa_enabled)
}
