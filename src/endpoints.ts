import { createAccountDeletion } from './accounts/account-deletion.service.ts'
import { authRoutes } from './accounts/auth.routes.ts'
import { createCredentialLimits } from './accounts/credential-limits.ts'
import { createDeferred } from './accounts/deferred.ts'
import { emailRoutes } from './accounts/email.routes.ts'
import { createEmailVerification } from './accounts/email-verification.service.ts'
import { createEntering } from './accounts/entering.ts'
import { createLinks } from './accounts/links.ts'
import { createLogin } from './accounts/login.service.ts'
import { createLoginMfa } from './accounts/login-mfa.service.ts'
import { createLogout } from './accounts/logout.service.ts'
import { meRoutes } from './accounts/me.routes.ts'
import { pageRoutes } from './accounts/pages.routes.ts'
import { createPasswordChange } from './accounts/password-change.service.ts'
import { createPasswordCheck } from './accounts/password-check.ts'
import { createPendingRegistrations } from './accounts/pending-registration.service.ts'
import { createProfile } from './accounts/profile.service.ts'
import { createReauthentication } from './accounts/reauthentication.service.ts'
import { recoveryRoutes } from './accounts/recovery.routes.ts'
import { createRecovery } from './accounts/recovery.service.ts'
import { createRefresh } from './accounts/refresh.service.ts'
import { createRegister } from './accounts/register.service.ts'
import { sessionRoutes } from './accounts/sessions.routes.ts'
import { createSessions } from './accounts/sessions.service.ts'
import { adminRoutes } from './administration/admin.routes.ts'
import { apiKeyRoutes } from './api-keys/api-keys.routes.ts'
import { createApiKeys } from './api-keys/api-keys.service.ts'
import type { ApiKeyAuthentication } from './api-keys/authenticate-key.ts'
import { createClientAssertions } from './clients/client-assertion.ts'
import { createClientAuthentication } from './clients/client-authentication.ts'
import { clientRoutes } from './clients/clients.routes.ts'
import { createIntrospection } from './clients/introspection.service.ts'
import { oauthRoutes } from './clients/oauth.routes.ts'
import { createTokenGrant } from './clients/token-grant.service.ts'
import { createTokenRevocation } from './clients/token-revocation.service.ts'
import type { Core } from './core.ts'
import { createEnrolment } from './factors/enrolment.service.ts'
import { createGuesses } from './factors/guesses.ts'
import { mfaRoutes } from './factors/mfa.routes.ts'
import { createSecondFactor } from './factors/second-factor.ts'
import type { Authenticate } from './gateway/authenticate.ts'
import { createPrincipalReader } from './gateway/authenticate.ts'
import { createCaller } from './gateway/caller.ts'
import type { GuessLimit } from './gateway/guess-limit.ts'
import type { ErrorRecord } from './http/observe.ts'
import type { FastifyTypeProviderTypebox } from './http/type-provider.ts'
import type { Limiter } from './limits/limiter.ts'
import type { SessionOpening } from './sessions/opening.ts'
import type { AccessTokens } from './tokens/access-tokens.ts'
import { createMfaTokens } from './tokens/mfa-tokens.ts'
import type { RefreshTokens } from './tokens/refresh-tokens.ts'
import type { Grants } from './users/roles.ts'

export interface EndpointsDeps {
  core: Core
  limiter: Limiter
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  opening: SessionOpening
  grantsOf: (roles: readonly string[]) => Grants
  keyAuthentication: ApiKeyAuthentication
  tokenGuesses: GuessLimit
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
  opening,
  grantsOf,
  keyAuthentication,
  tokenGuesses,
  authenticate,
  lastErrors,
}: EndpointsDeps): Endpoints {
  const { config, logger, clock, metrics, db, secrets, keyring, revocations, ending, passwords, policy, audit, outbox, devices } = core

  const limits = createCredentialLimits(limiter, secrets, config.limits.credentials)
  const passwordCheck = createPasswordCheck({ db, audit, passwords, limits })
  const entering = createEntering({ opening, devices, audit })
  const mfaTokens = createMfaTokens({ keyring, issuer: config.tokens.issuer, clock })
  const factor = createSecondFactor({ secrets })
  const guesses = createGuesses({ db, audit, limits, metrics })
  const login = createLogin({ db, audit, passwords, limits, devices, entering, mfaTokens, metrics })
  const loginMfa = createLoginMfa({ db, mfaTokens, factor, guesses, devices, entering, outbox, metrics })
  const proving = { db, audit, outbox, passwordCheck, factor, guesses, ending, revocations, metrics }
  const reauthenticate = createReauthentication({ ...proving, opening })
  const enrolment = createEnrolment({ ...proving, clock, config })
  const sessions = createSessions({ db, metrics, audit, ending, revocations })
  const caller = createCaller(authenticate)
  const deferred = createDeferred(logger)
  const links = createLinks(config)
  const pending = createPendingRegistrations({ db, audit, limits, links, outbox, deferred })
  const register = createRegister({
    db,
    audit,
    config,
    passwords,
    policy,
    limits,
    opening,
    entering,
    devices,
    links,
    outbox,
    pending,
    metrics,
  })
  const verification = createEmailVerification({ db, audit, limits, links, outbox, pending, ending, revocations, metrics })
  const refresh = createRefresh({ refreshTokens, opening, revocations, limits, metrics, logger })
  const logout = createLogout({ db, metrics, audit, ending, revocations, refreshTokens })
  const profile = createProfile({ db, clock, audit, auth: config.auth, limits, links, outbox, passwordCheck, ending, revocations, metrics })
  const changePassword = createPasswordChange({
    db,
    audit,
    outbox,
    passwords,
    policy,
    passwordCheck,
    ending,
    opening,
    revocations,
    metrics,
  })
  const recovery = createRecovery({ db, audit, outbox, links, passwords, policy, limits, ending, revocations, deferred, metrics })

  const apiKeys = createApiKeys({ db, clock, audit, outbox, ending, revocations, grantsOf, config, metrics })

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
    clientEnding: core.clientEnding,
    revocations,
    guesses: tokenGuesses,
    metrics,
  })

  return {
    async register(auth) {
      await auth.register(authRoutes({ register, login, loginMfa, reauthenticate, refresh, logout, caller }))
      await auth.register(meRoutes({ profile, changePassword, deleteAccount, caller }))
      await auth.register(mfaRoutes({ enrolment, caller }))
      await auth.register(sessionRoutes({ sessions, caller }))
      await auth.register(emailRoutes({ verification, caller }))
      await auth.register(pageRoutes(config))
      await auth.register(recoveryRoutes(recovery))
      await auth.register(apiKeyRoutes({ apiKeys, caller }))
      await auth.register(oauthRoutes({ grantToken, introspect, revokeToken }))
      await auth.register(clientRoutes({ clients: core.clients, caller }))
      await auth.register(adminRoutes({ db, administration: core.administration, config, lastErrors, caller }))
    },
    settled: deferred.settled,
  }
}
