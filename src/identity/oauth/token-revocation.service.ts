/**
 * Token revocation (RFC 7009). Any holder may end the token or API key of a user. Only its machine client may end a machine token.
 * An unknown or ended token gets the same answer, since it is not valid either way.
 */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { problem } from '../../platform/lib/errors.ts'
import { looksLikeApiKey } from '../../platform/request/api-key-format.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { createLogout } from '../accounts/logout.service.ts'
import type { ApiKeys } from '../api-keys/api-keys.service.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { looksLikeRefreshToken } from '../sessions/refresh-tokens.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { AuthenticateClient, OAuthRequest } from './client-authentication.ts'
import { lockClient, type OAuthClient, updateClient } from './clients.repo.ts'
import { isInactiveToken } from './inactive-token.ts'

export interface TokenRevocationDeps {
  accounts: Accounts
  authenticateClient: AuthenticateClient
  accessTokens: AccessTokens
  apiKeys: ApiKeys
  logout: ReturnType<typeof createLogout>
  revocations: Revocations
  limitInvalidTokens: InvalidTokenLimit
}

export function createTokenRevocation(deps: TokenRevocationDeps) {
  const { accounts, authenticateClient, accessTokens, apiKeys, logout, revocations, limitInvalidTokens } = deps

  async function end(token: string, by: OAuthClient | null, context: AuditContext): Promise<void> {
    if (looksLikeApiKey(token)) {
      if (!(await apiKeys.revokeHeld(token, context))) throw problem('token_invalid')
    } else if (looksLikeRefreshToken(token)) {
      const judgement = await logout({ refreshToken: token }, 'session', context)
      if (judgement === 'unknown' || judgement === 'reused') throw problem('token_invalid')
    } else await endAccessToken(token, by, context)
  }

  async function endAccessToken(token: string, by: OAuthClient | null, context: AuditContext): Promise<void> {
    const { kind, sub, sid, ver } = (await accessTokens.verify(token)).claims
    if (kind === 'client') {
      if (!by) throw problem('invalid_client', { detail: 'The token belongs to a machine client: authenticate as that client.' })
      // RFC 7009 §2.1
      if (by.id !== sub)
        throw problem('invalid_request', { detail: 'The token was issued to another client. Only that client may revoke it.' })
    }
    await revocations.ready()
    if (revocations.isRevoked(sid, sub, ver)) return
    if (kind === 'user') await logout({ sessionId: sid, userId: sub }, 'session', context)
    else await endMachineToken(sub, sid, context)
  }

  async function endMachineToken(clientId: string, tokenId: string, context: AuditContext): Promise<void> {
    await accounts.transaction('client_token_revoke', context, async ({ trx, record, revoke }) => {
      await lockClient(trx, clientId)
      await record({ actor: `client:${clientId}` })
      await revoke.credential(clientId, tokenId, async () => (await updateClient(trx, clientId, {})).token_epoch)
    })
    accounts.count('client_token_revoke', 'success')
  }

  return async (request: OAuthRequest): Promise<void> => {
    const by = await authenticateClient(request)
    const { token } = request.form
    if (token === undefined) throw problem('invalid_request', { detail: 'token is missing. Send the token to revoke.' })
    try {
      await limitInvalidTokens.check(request.context.client, () => end(token, by, request.context))
    } catch (error) {
      if (!isInactiveToken(error)) throw error
    }
  }
}
