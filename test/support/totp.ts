/** An authenticator app, and a user with a second factor. */
import { TOTP } from 'otpauth'
import { call, newUser, type TestUser } from './client.ts'
import type { Gateway } from './gateway.ts'
import { refresh } from './session.ts'

/** The code that the app shows now. @param steps before or after now */
export const codeOf = (secret: string, steps = 0): string =>
  new TOTP({ secret, algorithm: 'SHA1', digits: 6, period: 30 }).generate({ timestamp: Date.now() + steps * 30_000 })

export interface FactorUser extends TestUser {
  secret: string
  backupCodes: string[]
}

/** Sets up a second factor for a signed-in user. Confirming uses up the step of `confirmWith`. */
export async function enrol(gateway: Pick<Gateway, 'url'>, user: TestUser, confirmWith = -1): Promise<FactorUser> {
  const begun = await call(gateway, '/auth/mfa/totp', { body: { password: user.password }, token: user.token })
  if (begun.status !== 200) throw new Error(`enrolling answered ${begun.status}: ${JSON.stringify(begun.body)}`)
  const { secret } = begun.body
  const confirm = () => call(gateway, '/auth/mfa/totp/confirm', { body: { code: codeOf(secret, confirmWith) }, token: user.token })
  const first = await confirm()
  // the step may end between the reading of the code and its check
  const confirmed = first.body.code === 'invalid_code' ? await confirm() : first
  if (confirmed.status !== 200) throw new Error(`confirming answered ${confirmed.status}: ${JSON.stringify(confirmed.body)}`)
  const { body } = await refresh(gateway, user.refreshToken)
  return { ...user, token: body.access_token, refreshToken: body.refresh_token, secret, backupCodes: confirmed.body.backup_codes }
}

export const newFactorUser = async (gateway: Gateway): Promise<FactorUser> => enrol(gateway, await newUser(gateway))

/** The first step of a login, with the password. */
export async function mfaToken(gateway: Pick<Gateway, 'url'>, user: TestUser): Promise<string> {
  const { status, body } = await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  if (status !== 200 || !body.mfa_required) throw new Error(`login answered ${status}: ${JSON.stringify(body)}`)
  return body.mfa_token
}
