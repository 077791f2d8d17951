/** The ways in which tokens of machines end, each as part of the caller's transaction, which holds the client's lock. */
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { revokedUntil } from '../sessions/revoke-sessions.ts'
import { updateClient } from './clients.repo.ts'

export interface ClientRevoker {
  /** All that were issued below this epoch. */
  outdate(trx: Transaction, clientId: string, epoch: number): Promise<Revocation>
  /** One. */
  endToken(trx: Transaction, clientId: string, tokenId: string): Promise<Revocation>
}

export function createClientRevoker(revocations: Revocations, tokens: Config['tokens']): ClientRevoker {
  const until = async (trx: Transaction) => revokedUntil(await databaseNow(trx), tokens)
  // the revocation map knows people and machines by their ids alone
  const outdate = async (trx: Transaction, clientId: string, epoch: number) =>
    revocations.record(trx, { userId: clientId, minEpoch: epoch, until: await until(trx) })
  return {
    outdate,
    async endToken(trx, clientId, tokenId) {
      if (revocations.isFull()) return outdate(trx, clientId, (await updateClient(trx, clientId, {})).token_epoch)
      return revocations.record(trx, { sessionId: tokenId, until: await until(trx) })
    },
  }
}
