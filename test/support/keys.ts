/** Creates API keys as a user does. */
import { call, type TestUser } from './client.ts'

export interface TestKey {
  id: string
  key: string
  [field: string]: any
}

export async function newKey(gateway: { url: string }, { token }: Pick<TestUser, 'token'>, input: object = {}): Promise<TestKey> {
  const { status, body } = await call(gateway, '/auth/api-keys', { body: { name: 'ci', ...input }, token })
  if (status !== 201) throw new Error(`POST /api-keys answered ${status}: ${JSON.stringify(body)}`)
  return body
}

export const revokeKey = (gateway: { url: string }, { token }: Pick<TestUser, 'token'>, id: string) =>
  call(gateway, `/auth/api-keys/${id}`, { method: 'DELETE', token })

/** 200, or the error code of the response. */
export async function withKey(gateway: { url: string }, path: string, key: string): Promise<number | string> {
  const { status, body } = await call(gateway, path, { headers: { 'x-api-key': key } })
  return status === 200 ? 200 : body.code
}
