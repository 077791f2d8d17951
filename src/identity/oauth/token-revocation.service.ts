/**
 * RFC 7009: a token that is not needed any more. Whoever holds a person's token or key may end it; a machine's is ended by its client. A token
 * that is unknown or over is answered alike: what is wanted is so already.
 */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { looksLikeApiKey } from '../../platform/request/api-key-format.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { createLogout } from '../accounts/logout.service.ts'
import type { ApiKeys } from '../api-keys/api-keys.service.ts'
import { looksLikeRefreshToken, type RefreshTokens } from '../sessions/refresh-tokens.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { AuthenticateClient, OAuthRequest } from './client-authentication.ts'
import { lockClient, type OAuthClient } from './clients.repo.ts'
import { isInactiveToken } from './inactive-token.ts'
import type { ClientRevoker } from './revoke-client.ts'

export interface TokenRevocationDeps {
  db: Db
  audit: Audit
  authenticateClient: AuthenticateClient
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  apiKeys: ApiKeys
  logout: ReturnType<typeof createLogout>
  clientRevoker: ClientRevoker
  revocations: Revocations
  limitInvalidTokens: InvalidTokenLimit
  metrics: Metrics
}

export function createTokenRevocation(deps: TokenRevocationDeps) {
  const {
    db,
    audit,
    authenticateClient,
    accessTokens,
    refreshTokens,
    apiKeys,
    logout,
    clientRevoker,
    revocations,
    limitInvalidTokens,
    metrics,
  } = deps

  async function end(token: string, by: OAuthClient | null, context: AuditContext): Promise<void> {
    if (looksLikeApiKey(token)) {
      if (!(await apiKeys.revokeHeld(token, context))) throw problem('token_invalid')
    } else if (looksLikeRefreshToken(token)) {
      if (!(await refreshTokens.locate(token))) throw problem('token_invalid')
      await logout({ refreshToken: token }, 'session', context)
    } else await endAccessToken(token, by, context)
  }

  async function endAccessToken(token: string, by: OAuthClient | null, context: AuditContext): Promise<void> {
    const { sub, sid, ver, client_id } = (await accessTokens.verify(token)).claims
    if (client_id !== undefined) {
      if (!by) throw problem('invalid_client', { detail: 'The token is a client’s: authenticate as that client.' })
      // RFC 7009 §2.1
      if (by.id !== client_id) throw problem('invalid_request', { detail: 'The token was issued to another client.' })
    }
    if (revocations.isRevoked(sid, sub, ver)) return
    if (client_id === undefined) await logout({ sessionId: sid, userId: sub }, 'session', context)
    else await endMachineToken(sub, sid, context)
  }

  async function endMachineToken(clientId: string, tokenId: string, context: AuditContext): Promise<void> {
    const revocation = await inTransaction(db, async (trx) => {
      await lockClient(trx, clientId)
      await audit.record(trx, { event: 'client_token_revoke', outcome: 'success', actor: `client:${clientId}`, context })
      return clientRevoker.endToken(trx, clientId, tokenId)
    })
    await revocations.announce(revocation)
    metrics.accountEvents.inc({ event: 'client_token_revoke', outcome: 'success' })
  }

  return async (request: OAuthRequest): Promise<void> => {
    const by = await authenticateClient(request)
    const { token } = request.form
    if (token === undefined) throw problem('invalid_request', { detail: 'token is missing.' })
    try {
      await limitInvalidTokens(request.context.client, () => end(token, by, request.context))
    } catch (error) {
      if (!isInactiveToken(error)) throw error
    }
  }
}
