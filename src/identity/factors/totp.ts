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

/** Makes the data for an authenticator app: the secret to type, and the URI to scan. @param seed as in `newSeed` */
export function enrolmentOf(seed: Buffer, issuer: string, account: string) {
  const secret = new Secret({ buffer: new Uint8Array(seed).buffer })
  const otpauthUri = new TOTP({ ...parameters, issuer, label: account, secret }).toString()
  return { secret: secret.base32, otpauthUri, qrSvg: renderSVG(otpauthUri) }
}

/** @returns the step of a code, or null when the code is not valid at `at`. Spaces and hyphens do not matter. The caller refuses a used step */
export function stepOf(typed: string, seed: Buffer, at: Date): number | null {
  const code = typed.replace(SEPARATORS, '')
  if (!FORM.test(code)) return null
  const totp = new TOTP({ ...parameters, secret: new Secret({ buffer: new Uint8Array(seed).buffer }) })
  const delta = totp.validate({ token: code, timestamp: at.getTime(), window: WINDOW })
  return delta === null ? null : Math.floor(at.getTime() / 1000 / PERIOD_SECONDS) + delta
}
