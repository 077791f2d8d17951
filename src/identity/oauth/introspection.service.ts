/** Token introspection (RFC 7662). A token that the gateway would accept is active. The answer reveals nothing about any other token. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Config } from '../../platform/config/schema.ts'
import { problem } from '../../platform/lib/errors.ts'
import { looksLikeApiKey } from '../../platform/request/api-key-format.ts'
import type { Principal } from '../access/principal.ts'
import type { ApiKeyAuthentication } from '../api-keys/authenticate-key.ts'
import { looksLikeRefreshToken, type RefreshTokens } from '../sessions/refresh-tokens.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { AccessTokenClaims, AccessTokens } from '../tokens/access-tokens.ts'
import { createMetadataClaims } from '../tokens/metadata-claims.ts'
import type { Grants } from '../users/roles.ts'
import type { AuthenticateClient, OAuthRequest } from './client-authentication.ts'
import { grantsOfClient } from './client-grants.ts'
import { isInactiveToken } from './inactive-token.ts'

/** The scope that a machine client needs for introspection. */
const INTROSPECT = 'introspect'

export interface ActiveToken {
  active: true
  iss: string
  aud: string
  sub: string
  roles: string[]
  /** Absent without a scope. */
  scope?: string
  iat: number
  exp?: number
  jti?: string
  sid?: string
  client_id?: string
  username?: string
  token_type: 'Bearer'
}
export type Introspection = ActiveToken | { active: false }

export interface IntrospectionDeps {
  authenticateClient: AuthenticateClient
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  keys: ApiKeyAuthentication
  toPrincipal: (claims: AccessTokenClaims, signingKid: string) => Principal
  revocations: Revocations
  grantsOf: (roles: readonly string[]) => Grants
  tokens: Config['tokens']
}

const seconds = (at: Date) => Math.floor(at.getTime() / 1000)

export function createIntrospection(deps: IntrospectionDeps) {
  const { authenticateClient, accessTokens, refreshTokens, keys, toPrincipal, revocations, grantsOf, tokens } = deps
  const metadataClaims = createMetadataClaims(tokens.claims)
  const place = { iss: tokens.issuer, aud: tokens.audience }

  async function describe(token: string, context: AuditContext): Promise<ActiveToken> {
    if (looksLikeApiKey(token)) return describeApiKey(token)
    if (looksLikeRefreshToken(token)) {
      // a refresh token is for this gateway alone: no protected route takes it, and no resource server should have it
      await refreshTokens.detectReuse(token, context)
      throw problem('token_invalid', { cause: 'a refresh token is never active for another server' })
    }
    return describeAccessToken(token)
  }

  const scopeOf = (scope: string) => (scope === '' ? {} : { scope })

  async function describeAccessToken(token: string): Promise<ActiveToken> {
    const { claims, key } = await accessTokens.verify(token)
    const { sub, sid, ver, scope, roles, iat, exp, jti, client_id, preferred_username: username } = claims
    await revocations.ready()
    if (revocations.isRevoked(sid, sub, ver)) throw problem('token_revoked')
    assertUsable(toPrincipal(claims, key.kid))
    const names = { ...(client_id === undefined ? {} : { client_id }), ...(username === undefined ? {} : { username }) }
    return { ...claims.mapped, active: true, ...place, sub, sid, ...scopeOf(scope), roles, iat, exp, jti, ...names, token_type: 'Bearer' }
  }

  async function describeApiKey(token: string): Promise<ActiveToken> {
    const { principal, key, owner } = await keys.inspect(token)
    assertUsable(principal)
    return {
      ...metadataClaims.of(owner.metadata),
      active: true,
      ...place,
      sub: principal.id,
      ...(owner.username === null ? {} : { username: owner.username }),
      roles: [...principal.roles],
      ...scopeOf([...principal.scopes].join(' ')),
      iat: seconds(key.created_at),
      ...(key.expires_at ? { exp: seconds(key.expires_at) } : {}),
      jti: key.id,
      token_type: 'Bearer',
    }
  }

  return async (request: OAuthRequest): Promise<Introspection> => {
    const client = await authenticateClient(request)
    if (!client) throw problem('invalid_client', { cause: 'the request has no client credential' })
    if (!grantsOfClient(client, grantsOf).scopes.includes(INTROSPECT))
      throw problem('forbidden', { detail: `The client needs the scope ${INTROSPECT}. Ask the operator to grant it.` })
    const { token } = request.form
    if (token === undefined) throw problem('invalid_request', { detail: 'token is missing. Send the token to look up.' })
    try {
      return await describe(token, request.context)
    } catch (error) {
      if (isInactiveToken(error)) return { active: false }
      throw error
    }
  }
}

/** No protected route admits such a caller. @throws token_invalid */
function assertUsable({ mustChangePassword, owesFactor }: Principal): void {
  if (mustChangePassword || owesFactor)
    throw problem('token_invalid', { cause: 'the user must change the password or set up a second factor' })
}
