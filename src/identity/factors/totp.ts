/** Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds. Authenticator apps support these parameters. */
import { Secret, TOTP } from 'otpauth'
import { renderSVG } from 'uqr'

/** RFC 4226 §4: 160 bits. */
const SECRET_BYTES = 20
const PERIOD_SECONDS = 30
const DIGITS = 6
/** Steps that are accepted before and after the current step: clocks differ, and typing takes time. */
const WINDOW = 1
const FORM = /^[0-9]{6}$/
/** Apps show a code in groups, and people type it so. */
const SEPARATORS = /[\s\p{Pd}]/gu

const parameters = { algorithm: 'SHA1', digits: DIGITS, period: PERIOD_SECONDS }

export const newSeed = (): Buffer => Buffer.from(new Secret({ size: SECRET_BYTES }).bytes)

/** RFC 4226 §4 asks for 128 bits. Older programs made seeds of 80 bits. */
const IMPORTED_BYTES = { min: 10, max: 64 }

/** The second factor of an imported user. @param secret base32 */
export function readSeed(imported: {
  secret: string
  algorithm?: string
  digits?: number
  period?: number
}): { seed: Buffer } | { fault: string } {
  const { secret, algorithm = parameters.algorithm, digits = DIGITS, period = PERIOD_SECONDS } = imported
  const name = algorithm.toUpperCase().replace('-', '')
  if (name !== parameters.algorithm || digits !== DIGITS || period !== PERIOD_SECONDS)
    return { fault: `must be TOTP with SHA1, ${DIGITS} digits and ${PERIOD_SECONDS} seconds: the user sets up a new factor here` }
  const text = secret.toUpperCase().replace(/[\s-]/g, '').replace(/=+$/, '')
  const bytes = Math.floor((text.length * 5) / 8)
  if (!/^[A-Z2-7]+$/.test(text) || bytes < IMPORTED_BYTES.min || bytes > IMPORTED_BYTES.max)
    return { fault: `its secret must be base32, of ${IMPORTED_BYTES.min} to ${IMPORTED_BYTES.max} bytes` }
  return { seed: Buffer.from(Secret.fromBase32(text).bytes) }
}

/** Makes the data for an authenticator app: the secret to type, and the URI to scan. @param seed as in `newSeed` */
export function enrolmentOf(seed: Buffer, issuer: string, account: string) {
  const secret = new Secret({ buffer: new Uint8Array(seed).buffer })
  const otpauthUri = new TOTP({ ...parameters, issuer, label: account, secret }).toString()
  return { secret: secret.base32, otpauthUri, qrSvg: renderSVG(otpauthUri) }
}

/** @param otpauthUri as `enrolmentOf` made it. @returns a data URL */
export const qrOf = (otpauthUri: string): string => `data:image/svg+xml;base64,${Buffer.from(renderSVG(otpauthUri)).toString('base64')}`

/** @param otpauthUri as `enrolmentOf` made it. @returns base32 */
export const secretOf = (otpauthUri: string): string => new URL(otpauthUri).searchParams.get('secret')!

/** @returns the step of a code, or null when the code is not valid at `at`. Spaces and hyphens do not matter. The caller refuses a used step */
export function stepOf(typed: string, seed: Buffer, at: Date): number | null {
  const code = typed.replace(SEPARATORS, '')
  if (!FORM.test(code)) return null
  const totp = new TOTP({ ...parameters, secret: new Secret({ buffer: new Uint8Array(seed).buffer }) })
  const delta = totp.validate({ token: code, timestamp: at.getTime(), window: WINDOW })
  return delta === null ? null : Math.floor(at.getTime() / 1000 / PERIOD_SECONDS) + delta
}
