/** Changes the signing keys of a gateway as an operator does. */
import type { KeyStatus } from '../../src/identity/tokens/keyring.ts'
import { OPERATOR } from './client.ts'
import type { Gateway } from './gateway.ts'
import { rows } from './rows.ts'

export const rotateKey = ({ app }: Pick<Gateway, 'app'>, { now = false } = {}): Promise<KeyStatus> =>
  app.identity.administration.rotateKey({ now }, OPERATOR)

export const revokeKey = ({ app }: Pick<Gateway, 'app'>, kid: string): Promise<KeyStatus> =>
  app.identity.administration.revokeKey(kid, OPERATOR)

/** The next key is due. A gateway promotes it when it reads the keys. */
export const activateNext = (gateway: Pick<Gateway, 'app'>) =>
  rows(gateway, `UPDATE signing_keys SET activates_at = clock_timestamp() - interval '1 s' WHERE state = 'next'`)

/** The next key signs, and the current key is retired. */
export async function retireCurrent(gateway: Pick<Gateway, 'app'>): Promise<void> {
  const { keyring } = gateway.app.identity
  if (!keyring.status().some(({ state }) => state === 'next')) await rotateKey(gateway)
  await activateNext(gateway)
  await keyring.reloadChanges()
}
