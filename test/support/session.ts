/** Short functions for tests of sessions. */
import { type Answer, call } from './client.ts'
import type { Gateway } from './gateway.ts'
import { rows } from './rows.ts'

export const refresh = (gateway: Pick<Gateway, 'url'>, refreshToken: string): Promise<Answer> =>
  call(gateway, '/auth/refresh', { body: { refresh_token: refreshToken } })

export const logout = (gateway: Pick<Gateway, 'url'>, token: string): Promise<Answer> =>
  call(gateway, '/auth/logout', { method: 'POST', token })

/** 200 while the access token is valid, else the error code. */
export async function me(gateway: Pick<Gateway, 'url'>, token: string): Promise<number | string> {
  const { status, body } = await call(gateway, '/auth/me', { token })
  return status === 200 ? 200 : body.code
}

export const claimsOf = (token: string): any => JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())
export const headerOf = (token: string): any => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())

/** Ends the grace period of the last rotation: moves it an hour into the past. */
export const endGrace = (gateway: Pick<Gateway, 'app'>, sessionId: string) =>
  rows(gateway, `UPDATE refresh_tokens SET rotated_at = rotated_at - interval '1 hour' WHERE session_id = $1`, [sessionId])

/** Polls the revocations twice: a poll that is already running may have read before this call. */
export async function pollRevocations(gateway: Pick<Gateway, 'app'>): Promise<void> {
  await gateway.app.identity.revocations.poll()
  await gateway.app.identity.revocations.poll()
}
