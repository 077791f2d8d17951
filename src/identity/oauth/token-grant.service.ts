/**
 * RFC 6749 §4.4: a machine client gets an access token for its credential. It needs no refresh token, since it can request a new access
 * token.
 */
import { uuidv7 } from 'uuidv7'
import { problem } from '../../platform/lib/errors.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import type { AccessTokens } from '../tokens/access-tokens.ts'
import type { Grants } from '../users/roles.ts'
import type { AuthenticateClient, OAuthRequest } from './client-authentication.ts'
import { grantsOfClient } from './client-grants.ts'
import { touchClient } from './clients.repo.ts'

export interface TokenAnswer {
  access_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
  scope: string
}

export interface TokenGrantDeps {
  accounts: Accounts
  authenticateClient: AuthenticateClient
  accessTokens: AccessTokens
  grantsOf: (roles: readonly string[]) => Grants
}

export function createTokenGrant({ accounts, authenticateClient, accessTokens, grantsOf }: TokenGrantDeps) {
  async function grant(request: OAuthRequest): Promise<TokenAnswer> {
    const { grant_type, scope } = request.form
    if (grant_type === undefined) throw problem('invalid_request', { detail: 'grant_type is missing. Send grant_type=client_credentials.' })
    if (grant_type !== 'client_credentials') throw problem('unsupported_grant_type')
    const client = await authenticateClient(request)
    if (!client) throw problem('invalid_client', { cause: 'the request has no client credential' })
    const { roles, scopes: own } = grantsOfClient(client, grantsOf)
    const scopes = scope === undefined ? own : narrow(own, scope)
    // a client that is disabled meanwhile has a higher epoch, so this token is outdated
    const { token, expiresInSeconds } = await accessTokens.issue({
      clientId: client.id,
      sessionId: uuidv7(),
      epoch: client.token_epoch,
      roles,
      scopes,
    })
    await accounts.transaction('client_token', request.context, async ({ trx, record }) => {
      await touchClient(trx, client.id)
      await record({ actor: `client:${client.id}` })
    })
    return { access_token: token, token_type: 'Bearer', expires_in: expiresInSeconds, scope: scopes.join(' ') }
  }

  return accounts.counted('client_token', grant)
}

/** RFC 6749 §3.3 */
function narrow(own: readonly string[], scope: string): string[] {
  const wanted = [...new Set(scope.split(' '))].sort()
  if (!wanted.every((name) => own.includes(name))) throw problem('invalid_scope')
  return wanted
}
