/** Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, which is what authenticator apps know. */
import { Secret, TOTP } from 'otpauth'
import { renderSVG } from 'uqr'

/** RFC 4226 §4: 160 bits. */
const SECRET_BYTES = 20
const PERIOD_SECONDS = 30
const DIGITS = 6
/** A step before and one after: clocks differ, and typing takes time. */
const WINDOW = 1
const FORM = /^[0-9]{6}$/

const parameters = { algorithm: 'SHA1', digits: DIGITS, period: PERIOD_SECONDS }

export const newSeed = (): Buffer => Buffer.from(new Secret({ size: SECRET_BYTES }).bytes)

/** What an app is told: the secret for who types it, the URI for who scans it. @param seed as in `newSeed` */
export function enrolmentOf(seed: Buffer, issuer: string, account: string) {
  const secret = new Secret({ buffer: new Uint8Array(seed).buffer })
  const otpauthUri = new TOTP({ ...parameters, issuer, label: account, secret }).toString()
  return { secret: secret.base32, otpauthUri, qrSvg: renderSVG(otpauthUri) }
}

/** The step that a code is of, or null when it is none of `at`. The caller refuses a step that was used. */
export function stepOf(code: string, seed: Buffer, at: Date): number | null {
  if (!FORM.test(code)) return null
  const totp = new TOTP({ ...parameters, secret: new Secret({ buffer: new Uint8Array(seed).buffer }) })
  const delta = totp.validate({ token: code, timestamp: at.getTime(), window: WINDOW })
  return delta === null ? null : Math.floor(at.getTime() / 1000 / PERIOD_SECONDS) + delta
}
