/**
 * Checks every new password. All characters are allowed, and there are no composition rules (NIST SP 800-63B §3.1.1.2). A password must be
 * long enough, and must not be one that attackers try first.
 */
import type { Config } from '../../platform/config/schema.ts'
import type { FieldError } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { createBreachCheck } from './breach-check.ts'
import { createCommonPasswords } from './common-passwords.ts'
import { MAX_PASSWORD_BYTES, normalPassword } from './passwords.ts'

export type PasswordFault = Omit<FieldError, 'field'>

/** Names of the user: username if there is one, e-mail address. */
type OwnNames = readonly (string | null | undefined)[]

export interface PasswordPolicy {
  /** @returns the fault, or null */
  (password: string, own: OwnNames): Promise<PasswordFault | null>
  /** The same without the look-up in known breaches. */
  local(password: string, own: OwnNames): PasswordFault | null
}

export const SAME_PASSWORD: PasswordFault = { code: 'same_as_current', detail: 'must differ from the current password' }
const CONTAINS_NAME: PasswordFault = {
  code: 'contains_name',
  detail: 'must be more than your username, your e-mail address or the name of this service',
}
const TOO_COMMON: PasswordFault = { code: 'too_common', detail: 'is too common: attackers try it first' }
const BREACHED: PasswordFault = { code: 'breached', detail: 'is known from a data breach: it must not be used anywhere' }

/** Shorter names are part of many words. */
const MIN_WORD = 4
/** A password is more than a name when this many characters are left without the name. */
const MIN_REST = 8

export function createPasswordPolicy(config: Pick<Config, 'server' | 'auth'>, metrics: Metrics, logger: Logger): PasswordPolicy {
  const { minLength, breachCheck } = config.auth.password
  const isCommon = createCommonPasswords()
  const isBreached = createBreachCheck(breachCheck, metrics, logger)
  const ofService = ['portcullis', new URL(config.server.publicUrl).hostname, config.auth.mfa.issuer ?? '']

  function local(typed: string, own: OwnNames): PasswordFault | null {
    if (!typed.isWellFormed()) return { code: 'format', detail: 'must be Unicode text' }
    const password = normalPassword(typed)
    if ([...password].length < minLength) return { code: 'too_short', detail: `must be at least ${minLength} characters long` }
    if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES)
      return { code: 'too_long', detail: `must be at most ${MAX_PASSWORD_BYTES} bytes long` }
    if (
      isMadeOf(
        password,
        [...own, ...ofService].filter((name) => name != null),
      )
    )
      return CONTAINS_NAME
    return isCommon(password) ? TOO_COMMON : null
  }

  const check = async (typed: string, own: OwnNames) => local(typed, own) ?? ((await isBreached(normalPassword(typed))) ? BREACHED : null)
  return Object.assign(check, { local })
}

/** ASVS 6.2.11. Whole names count, and each word of a name: `ann.smith@example.com`, `smith`, `example`. */
function isMadeOf(password: string, names: readonly string[]): boolean {
  const text = password.toLowerCase()
  const words = names.map((name) => name.normalize('NFC').toLowerCase()).flatMap((name) => [name, ...name.split(/[^\p{L}\p{N}]+/u)])
  const rest = words
    .filter((word) => word.length >= MIN_WORD)
    .sort((a, b) => b.length - a.length)
    .reduce((left, word) => left.replaceAll(word, ''), text)
  return rest !== text && [...rest].length < MIN_REST
}
