/**
 * What a retired key still verifies. A thief of the key chooses `iat` and `exp`, so both are bounded, and the key is deleted when the last
 * honest token has expired.
 */
import type { JWTPayload } from 'jose'
import type { Config } from '../../platform/config/schema.ts'
import type { KeyRow } from './keyring.repo.ts'

/**
 * Every gateway changes to the next key by the clock that also writes `iat`, at a time that it learned long before. So an honest `iat` is
 * later than the retirement only by the error of a measurement of the database's time.
 */
const CLOCK_TOLERANCE_SECONDS = 5
/** The lifetime of the tokens between the password and the second factor. */
export const MFA_TOKEN_LIFE_SECONDS = 300

export interface Retirement {
  /** Seconds since the epoch. */
  retiredAt: number
  /** The longest lifetime of an access token that the key signed. */
  lifetimeSeconds: number
}

export const lifetimeOf = ({ lifetime_seconds }: Pick<KeyRow, 'lifetime_seconds'>, tokens: Config['tokens']): number =>
  lifetime_seconds ?? tokens.accessTtlSeconds

export const retirementOf = (row: KeyRow, tokens: Config['tokens']): Retirement | null =>
  row.retired_at === null ? null : { retiredAt: row.retired_at.getTime() / 1000, lifetimeSeconds: lifetimeOf(row, tokens) }

/** @param lifetimeSeconds of this kind of token; default: that of access tokens. @returns why the key does not verify the token, or null */
export function retirementFault(
  retirement: Retirement | null,
  { iat, exp }: JWTPayload,
  lifetimeSeconds = retirement?.lifetimeSeconds,
): string | null {
  if (!retirement) return null
  if (!(iat! <= retirement.retiredAt + CLOCK_TOLERANCE_SECONDS)) return 'issued after the key was retired'
  return exp! - iat! <= lifetimeSeconds! ? null : 'lasts longer than the tokens of the retired key'
}

/** Every token of the key has expired by this time. A token is accepted for a few seconds after its expiry. */
export function verifiesUntil(row: KeyRow, tokens: Config['tokens']): Date {
  const lifetimeSeconds = Math.max(lifetimeOf(row, tokens), MFA_TOKEN_LIFE_SECONDS)
  return new Date(row.retired_at!.getTime() + (lifetimeSeconds + 2 * CLOCK_TOLERANCE_SECONDS) * 1000)
}
