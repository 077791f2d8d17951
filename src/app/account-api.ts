import type { Authenticate } from '../identity/access/authenticate.ts'
import { createPrincipalReader } from '../identity/access/authenticate.ts'
import type { InvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import { createRequireAuth } from '../identity/access/require-auth.ts'
import { createAccountDeletion } from '../identity/accounts/account-deletion.service.ts'
import { authRoutes } from '../identity/accounts/auth.routes.ts'
import { createBackgroundQueue } from '../identity/accounts/background-queue.ts'
import { createLoginCompletion } from '../identity/accounts/complete-login.ts'
import { emailRoutes } from '../identity/accounts/email.routes.ts'
import { createEmailVerification } from '../identity/accounts/email-verification.service.ts'
import { createLinks } from '../identity/accounts/links.ts'
import { createLogin } from '../identity/accounts/login.service.ts'
import { createLoginMfa } from '../identity/accounts/login-mfa.service.ts'
import { createLogout } from '../identity/accounts/logout.service.ts'
import { meRoutes } from '../identity/accounts/me.routes.ts'
import { pageRoutes } from '../identity/accounts/pages.routes.ts'
import { createPasswordChange } from '../identity/accounts/password-change.service.ts'
import { createPendingRegistrations } from '../identity/accounts/pending-registration.service.ts'
import { createProfile } from '../identity/accounts/profile.service.ts'
import { createReauthentication } from '../identity/accounts/reauthentication.service.ts'
import { recoveryRoutes } from '../identity/accounts/recovery.routes.ts'
import { createRecovery } from '../identity/accounts/recovery.service.ts'
import { createRefresh } from '../identity/accounts/refresh.service.ts'
import { createRegister } from '../identity/accounts/register.service.ts'
import { sessionRoutes } from '../identity/accounts/sessions.routes.ts'
import { createSessions } from '../identity/accounts/sessions.service.ts'
import { adminRoutes } from '../identity/admin/admin.routes.ts'
import { apiKeyRoutes } from '../identity/api-keys/api-keys.routes.ts'
import { createApiKeys } from '../identity/api-keys/api-keys.service.ts'
import type { ApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { createCredentialLimits } from '../identity/credentials/credential-limits.ts'
import { createPasswordCheck } from '../identity/credentials/password-check.ts'
import { createCodeAttempts } from '../identity/factors/code-attempts.ts'
import { createEnrolment } from '../identity/factors/enrolment.service.ts'
import { mfaRoutes } from '../identity/factors/mfa.routes.ts'
import { createSecondFactor } from '../identity/factors/second-factor.ts'
import { createClientAssertions } from '../identity/oauth/client-assertion.ts'
import { createClientAuthentication } from '../identity/oauth/client-authentication.ts'
import { clientRoutes } from '../identity/oauth/clients.routes.ts'
import { createIntrospection } from '../identity/oauth/introspection.service.ts'
import { oauthRoutes } from '../identity/oauth/oauth.routes.ts'
import { createTokenGrant } from '../identity/oauth/token-grant.service.ts'
import { createTokenRevocation } from '../identity/oauth/token-revocation.service.ts'
import type { SessionOpener } from '../identity/sessions/open-session.ts'
import type { RefreshTokens } from '../identity/sessions/refresh-tokens.ts'
import type { AccessTokens } from '../identity/tokens/access-tokens.ts'
import { createMfaTokens } from '../identity/tokens/mfa-tokens.ts'
import type { Grants } from '../identity/users/roles.ts'
import type { FastifyTypeProviderTypebox } from '../platform/http/type-provider.ts'
import type { Limiter } from '../platform/limits/limiter.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { Core } from './services.ts'

export interface EndpointsDeps {
  core: Core
  limiter: Limiter
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  sessionOpener: SessionOpener
  grantsOf: (roles: readonly string[]) => Grants
  keyAuthentication: ApiKeyAuthentication
  limitInvalidTokens: InvalidTokenLimit
  authenticate: Authenticate
  lastErrors: () => Promise<ErrorRecord[]>
}

export interface Endpoints {
  /** Registers them below `auth.prefix`. */
  register(auth: FastifyTypeProviderTypebox): Promise<void>
  /** When all is done that is done after its answer. */
  settled(): Promise<unknown>
}

export function createEndpoints({
  core,
  limiter,
  accessTokens,
  refreshTokens,
  sessionOpener,
  grantsOf,
  keyAuthentication,
  limitInvalidTokens,
  authenticate,
  lastErrors,
}: EndpointsDeps): Endpoints {
  const { config, logger, clock, metrics, db, secrets, keyring, revocations, sessionRevoker, passwords, policy, audit, outbox, devices } =
    core

  const limits = createCredentialLimits(limiter, secrets, config.limits.credentials)
  const passwordCheck = createPasswordCheck({ db, audit, passwords, limits })
  const loginCompletion = createLoginCompletion({ sessionOpener, devices, audit })
  const mfaTokens = createMfaTokens({ keyring, issuer: config.tokens.issuer, clock })
  const factor = createSecondFactor({ secrets })
  const codeAttempts = createCodeAttempts({ db, audit, limits, metrics })
  const login = createLogin({ db, audit, passwords, limits, devices, loginCompletion, mfaTokens, metrics })
  const loginMfa = createLoginMfa({ db, mfaTokens, factor, codeAttempts, devices, loginCompletion, outbox, metrics })
  const proving = { db, audit, outbox, passwordCheck, factor, codeAttempts, sessionRevoker, revocations, metrics }
  const reauthenticate = createReauthentication({ ...proving, sessionOpener })
  const enrolment = createEnrolment({ ...proving, clock, config })
  const sessions = createSessions({ db, metrics, audit, sessionRevoker, revocations })
  const requireAuth = createRequireAuth(authenticate)
  const backgroundQueue = createBackgroundQueue(logger)
  const links = createLinks(config)
  const pending = createPendingRegistrations({ db, audit, limits, links, outbox, backgroundQueue })
  const register = createRegister({
    db,
    audit,
    config,
    passwords,
    policy,
    limits,
    sessionOpener,
    loginCompletion,
    devices,
    links,
    outbox,
    pending,
    metrics,
  })
  const verification = createEmailVerification({ db, audit, limits, links, outbox, pending, sessionRevoker, revocations, metrics })
  const refresh = createRefresh({ refreshTokens, sessionOpener, revocations, limits, metrics, logger })
  const logout = createLogout({ db, metrics, audit, sessionRevoker, revocations, refreshTokens })
  const profile = createProfile({
    db,
    clock,
    audit,
    auth: config.auth,
    limits,
    links,
    outbox,
    passwordCheck,
    sessionRevoker,
    revocations,
    metrics,
  })
  const changePassword = createPasswordChange({
    db,
    audit,
    outbox,
    passwords,
    policy,
    passwordCheck,
    sessionRevoker,
    sessionOpener,
    revocations,
    metrics,
  })
  const recovery = createRecovery({
    db,
    audit,
    outbox,
    links,
    passwords,
    policy,
    limits,
    sessionRevoker,
    revocations,
    backgroundQueue,
    metrics,
  })

  const apiKeys = createApiKeys({ db, clock, audit, outbox, sessionRevoker, revocations, grantsOf, config, metrics })

  const deleteAccount = createAccountDeletion({ db, audit, clock, passwordCheck, eraseAccount: core.eraseAccount, revocations, metrics })
  const assertions = createClientAssertions({ db, clock, config })
  const authenticateClient = createClientAuthentication({ db, audit, limits, assertions, metrics })
  const grantToken = createTokenGrant({ db, audit, authenticateClient, accessTokens, grantsOf, metrics })
  const introspect = createIntrospection({
    authenticateClient,
    accessTokens,
    refreshTokens,
    keys: keyAuthentication,
    toPrincipal: createPrincipalReader(config),
    revocations,
    grantsOf,
    tokens: config.tokens,
  })
  const revokeToken = createTokenRevocation({
    db,
    audit,
    authenticateClient,
    accessTokens,
    refreshTokens,
    apiKeys,
    logout,
    clientRevoker: core.clientRevoker,
    revocations,
    limitInvalidTokens,
    metrics,
  })

  return {
    async register(auth) {
      await auth.register(authRoutes({ register, login, loginMfa, reauthenticate, refresh, logout, requireAuth }))
      await auth.register(meRoutes({ profile, changePassword, deleteAccount, requireAuth }))
      await auth.register(mfaRoutes({ enrolment, requireAuth }))
      await auth.register(sessionRoutes({ sessions, requireAuth }))
      await auth.register(emailRoutes({ verification, requireAuth }))
      await auth.register(pageRoutes(config))
      await auth.register(recoveryRoutes(recovery))
      await auth.register(apiKeyRoutes({ apiKeys, requireAuth }))
      await auth.register(oauthRoutes({ grantToken, introspect, revokeToken }))
      await auth.register(clientRoutes({ clients: core.clients, requireAuth }))
      await auth.register(adminRoutes({ db, administration: core.administration, config, lastErrors, requireAuth }))
    },
    settled: backgroundQueue.settled,
  }
}
