/** Builds the parts that issue tokens and that authenticate requests by token or API key. */
import { type Authenticate, createAuthentication, type IsKnownCredential } from '../identity/access/authenticate.ts'
import { type CookieAuthentication, createCookieAuthentication } from '../identity/access/authenticate-cookie.ts'
import { type CrossSite, createCrossSite } from '../identity/access/cross-site.ts'
import { createInvalidTokenLimit, type InvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import { createRequireAuth, type RequireAuth } from '../identity/access/require-auth.ts'
import { createSessionCookies, type SessionCookies } from '../identity/access/session-cookie.ts'
import { type ApiKeyAuthentication, createApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { createIssuerSelection } from '../identity/issuers/external-tokens.ts'
import { type CookiePurpose, createCookieValues } from '../identity/sessions/cookie-values.ts'
import { createSessionOpener, type SessionOpener } from '../identity/sessions/open-session.ts'
import { createRefreshTokens, type RefreshTokens } from '../identity/sessions/refresh-tokens.ts'
import { type AccessTokens, createAccessTokens } from '../identity/tokens/access-tokens.ts'
import { createRoles, type Grants } from '../identity/users/roles.ts'
import { createOwnLimits, type OwnLimits } from '../proxy/rate-limit.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Platform } from './platform.ts'

/** The session cookie of one purpose. */
export interface CookieAccess {
  cookies: SessionCookies
  authentication: CookieAuthentication
}

export interface Access {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  sessionOpener: SessionOpener
  grantsOf: (roles: readonly string[]) => Grants
  limitInvalidTokens: InvalidTokenLimit
  keyAuthentication: ApiKeyAuthentication
  authenticate: Authenticate
  /** Of a bearer token, an API key or a session cookie. */
  isKnown: IsKnownCredential
  ownLimits: OwnLimits
  crossSite: CrossSite
  /** The cookie of browsers. Null: `auth.browser` is not enabled. */
  browser: CookieAccess | null
  /** Makes what a further listener needs for cookies of its own. @param rule the origin rule of that listener */
  cookieAccess(purpose: CookiePurpose, rule: CrossSite): CookieAccess
  /** Takes the cookie of browsers too, where `auth.browser` is enabled. */
  requireAuth: RequireAuth
}

export function createAccess(
  platform: Platform,
  { keyring, revocations, accounts, issuerKeys }: Identity,
  { limiter, admission }: Limits,
): Access {
  const { config, logger, clock, metrics, db, secrets, outbox } = platform
  const { tokens, auth } = config
  const accessTokens = createAccessTokens({ keyring, tokens, clock })
  const refreshTokens = createRefreshTokens({ db, accounts, outbox, secrets, tokens, auth, metrics, logger })
  const grantsOf = createRoles(auth.roles)
  const limitInvalidTokens = createInvalidTokenLimit({ limiter, clock }, config.limits.credentials)
  const keyAuthentication = createApiKeyAuthentication({ db, revocations, limitInvalidTokens, grantsOf, config, metrics, clock })
  const { authenticate, isKnown } = createAuthentication({
    authenticateKey: keyAuthentication.authenticate,
    isKnownKey: keyAuthentication.isKnown,
    accessTokens,
    selectIssuer: createIssuerSelection(config, { keys: issuerKeys, clock }),
    keyring,
    revocations,
    limitInvalidTokens,
    config,
    metrics,
    clock,
  })
  const ownLimits = createOwnLimits(config.limits, admission)
  const crossSite = createCrossSite(config)
  const values = createCookieValues(secrets)

  function cookieAccess(purpose: CookiePurpose, rule: CrossSite): CookieAccess {
    const cookies = createSessionCookies(config, rule, purpose)
    const authentication = createCookieAuthentication({
      db,
      cookies,
      values,
      purpose,
      crossSite: rule,
      revocations,
      limitInvalidTokens,
      grantsOf,
      config,
      metrics,
      clock,
    })
    return { cookies, authentication }
  }

  const browser = auth.browser.enabled ? cookieAccess('browser', crossSite) : null
  return {
    accessTokens,
    refreshTokens,
    sessionOpener: createSessionOpener({ accessTokens, refreshTokens, values, grantsOf, config, geo: platform.data.geo }),
    grantsOf,
    limitInvalidTokens,
    keyAuthentication,
    authenticate,
    isKnown: (headers) => isKnown(headers) || (browser?.authentication.isKnown(headers) ?? false),
    ownLimits,
    crossSite,
    browser,
    cookieAccess,
    requireAuth: createRequireAuth(
      authenticate,
      ownLimits.caller,
      browser && { ...browser.authentication, countAnonymous: ownLimits.anonymous },
    ),
  }
}
