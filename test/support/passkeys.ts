/** A gateway whose users have passkeys, and the ceremonies of an app. */
import { type Authenticator, createAuthenticator, type Wrong } from './authenticator.ts'
import { type Answer, call, newUser, type TestUser } from './client.ts'
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts'

const PASSKEY_ORIGIN = 'https://gateway.test'

type Json = Record<string, any>

export const startPasskeyGateway = ({ config = {}, ...options }: GatewayOptions = {}): Promise<Gateway> =>
  startGateway({
    ...options,
    config: {
      ...config,
      server: { publicUrl: PASSKEY_ORIGIN, ...(config.server as Json) },
      auth: { passkeys: { enabled: true }, ...(config.auth as Json) },
    },
  })

export const newAuthenticator = (options: { isSynced?: boolean; origin?: string } = {}): Authenticator =>
  createAuthenticator({ origin: PASSKEY_ORIGIN, ...options })

/** @returns the answer of `verify`, or of `options` when that is refused */
export async function addPasskey(
  gateway: Gateway,
  user: Pick<TestUser, 'token'>,
  device: Authenticator,
  { wrong, name, ...proof }: { wrong?: Wrong; name?: string; current_password?: string; code?: string } = {},
): Promise<Answer> {
  const begun = await call(gateway, '/auth/passkeys/register/options', { token: user.token, body: proof })
  if (begun.status !== 200) return begun
  const { flow_token, options } = begun.body
  const credential = device.create(options, wrong)
  return call(gateway, '/auth/passkeys/register/verify', { token: user.token, body: { flow_token, credential, ...(name && { name }) } })
}

export interface SignOptions {
  wrong?: Wrong
  token?: string
  mfaToken?: string
  /** Of the credential. */
  id?: Buffer
  body?: Json
}

export async function beginSigning(gateway: Gateway, { token, mfaToken }: SignOptions = {}): Promise<Answer> {
  return call(gateway, '/auth/passkeys/login/options', { token, body: mfaToken === undefined ? {} : { mfa_token: mfaToken } })
}

export const verify = (gateway: Gateway, { token, mfaToken, body }: SignOptions): Promise<Answer> =>
  call(gateway, '/auth/passkeys/login/verify', { token, body: { ...body, ...(mfaToken !== undefined && { mfa_token: mfaToken }) } })

/** Both steps: a login, the second step of a login, or a proof of who the user is. */
export async function sign(gateway: Gateway, device: Authenticator, options: SignOptions = {}): Promise<Answer> {
  const begun = await beginSigning(gateway, options)
  if (begun.status !== 200) return begun
  const { flow_token, options: asked } = begun.body
  const credential = device.get(asked, options.wrong, options.id)
  return verify(gateway, { ...options, body: { flow_token, credential, ...options.body } })
}

/** A user with one passkey. @returns the answer too: it holds the backup codes */
export async function newPasskeyUser(gateway: Gateway, device = newAuthenticator()) {
  const user = await newUser(gateway)
  const added = await addPasskey(gateway, user, device)
  if (added.status !== 200) throw new Error(`the passkey was refused: ${JSON.stringify(added.body)}`)
  return { user, device, added: added.body as { passkey: { id: string }; backup_codes: string[] } }
}
