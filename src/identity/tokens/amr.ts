/**
 * How a user has authenticated (RFC 8176). Two steps have no word there: `fed`, a login at a provider, and `email`, a mailed code or link.
 * `otp`, `hwk` and `swk` are factors that only the user holds; `swk` is a passkey that may be copied to other devices.
 */

export const BY_PASSWORD: readonly string[] = ['pwd']
export const BY_PROVIDER: readonly string[] = ['fed']
export const BY_EMAIL: readonly string[] = ['email']
/** A code of an authenticator app, or a backup code. */
export const BY_CODE: readonly string[] = ['otp']

const FACTORS: readonly string[] = ['otp', 'hwk', 'swk']
const FIRST_STEPS: readonly string[] = ['pwd', 'fed', 'email']

/** A passkey that has verified its user is several factors in one. */
export const showsFactor = (amr: readonly string[]): boolean => amr.some((value) => FACTORS.includes(value))

/** The steps that are no factor. Empty after a login with a passkey. */
export const firstStepsOf = (amr: readonly string[]): string[] => amr.filter((value) => FIRST_STEPS.includes(value))

/** Adds a factor to what was shown before. */
export const withFactor = (amr: readonly string[], factor: readonly string[]): string[] => [
  ...new Set([...amr.filter((value) => value !== 'mfa'), ...factor, 'mfa']),
]

/** After factors were removed from the account. @param isRemoved the values of these factors */
export function withoutFactors(amr: readonly string[], isRemoved: (value: string) => boolean): string[] {
  const left = amr.filter((value) => !isRemoved(value))
  return showsFactor(left) ? left : left.filter((value) => value !== 'mfa')
}
