/** Builds the parts that issue tokens and that authenticate requests by token or API key. */
import { type Authenticate, createAuthenticate } from '../identity/access/authenticate.ts'
import { createInvalidTokenLimit, type InvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import { createRequireAuth, type RequireAuth } from '../identity/access/require-auth.ts'
import { type ApiKeyAuthentication, createApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { createSessionOpener, type SessionOpener } from '../identity/sessions/open-session.ts'
import { createRefreshTokens, type RefreshTokens } from '../identity/sessions/refresh-tokens.ts'
import { type AccessTokens, createAccessTokens } from '../identity/tokens/access-tokens.ts'
import { createRoles, type Grants } from '../identity/users/roles.ts'
import { createOwnLimits, type OwnLimits } from '../proxy/rate-limit.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Platform } from './platform.ts'

export interface Access {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  sessionOpener: SessionOpener
  grantsOf: (roles: readonly string[]) => Grants
  limitInvalidTokens: InvalidTokenLimit
  keyAuthentication: ApiKeyAuthentication
  authenticate: Authenticate
  ownLimits: OwnLimits
  requireAuth: RequireAuth
}

export function createAccess(platform: Platform, { keyring, revocations, accounts }: Identity, { limiter, admission }: Limits): Access {
  const { config, logger, clock, metrics, db, secrets, outbox } = platform
  const { tokens, auth } = config
  const accessTokens = createAccessTokens({ keyring, tokens, clock })
  const refreshTokens = createRefreshTokens({ db, accounts, outbox, secrets, tokens, auth, metrics, logger })
  const grantsOf = createRoles(auth.roles)
  const limitInvalidTokens = createInvalidTokenLimit({ limiter, clock }, config.limits.credentials)
  const keyAuthentication = createApiKeyAuthentication({ db, revocations, limitInvalidTokens, grantsOf, config, metrics, clock })
  const authenticate = createAuthenticate({
    authenticateKey: keyAuthentication.authenticate,
    accessTokens,
    keyring,
    revocations,
    limitInvalidTokens,
    config,
    metrics,
    clock,
  })
  const ownLimits = createOwnLimits(config.limits, admission)
  return {
    accessTokens,
    refreshTokens,
    sessionOpener: createSessionOpener({ accessTokens, refreshTokens, grantsOf, config }),
    grantsOf,
    limitInvalidTokens,
    keyAuthentication,
    authenticate,
    ownLimits,
    requireAuth: createRequireAuth(authenticate, ownLimits.caller),
  }
}
