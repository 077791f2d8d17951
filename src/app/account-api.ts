/** Builds the services of the account API and registers their endpoints. */
import { setImmediate as letRequestsPass } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { createPrincipalReader } from '../identity/access/authenticate.ts'
import type { SessionCookies } from '../identity/access/session-cookie.ts'
import { createAccountDeletion } from '../identity/accounts/account-deletion.service.ts'
import { authRoutes } from '../identity/accounts/auth.routes.ts'
import type { BackgroundQueue } from '../identity/accounts/background-queue.ts'
import { challengeRoutes } from '../identity/accounts/challenge.routes.ts'
import { emailRoutes } from '../identity/accounts/email.routes.ts'
import { emailLoginRoutes } from '../identity/accounts/email-login.routes.ts'
import { createEmailLogins } from '../identity/accounts/email-login.service.ts'
import { createEmailLoginSecrets } from '../identity/accounts/email-login-secrets.ts'
import { createEmailVerification } from '../identity/accounts/email-verification.service.ts'
import { createFactorStep } from '../identity/accounts/factor-step.ts'
import { invitationRoutes } from '../identity/accounts/invitations.routes.ts'
import { createInvitations } from '../identity/accounts/invitations.ts'
import { loginConfirmationRoutes } from '../identity/accounts/login-confirmation.routes.ts'
import { meRoutes } from '../identity/accounts/me.routes.ts'
import { ownSessionRoutes } from '../identity/accounts/own-session.routes.ts'
import { createOwnSession } from '../identity/accounts/own-session.service.ts'
import { pageRoutes } from '../identity/accounts/pages.routes.ts'
import { passkeyRoutes } from '../identity/accounts/passkeys.routes.ts'
import { createPasswordChange } from '../identity/accounts/password-change.service.ts'
import { createPendingRegistrations } from '../identity/accounts/pending-registration.service.ts'
import { createPostProof } from '../identity/accounts/post-proof.ts'
import { createProfile } from '../identity/accounts/profile.service.ts'
import { recoveryRoutes } from '../identity/accounts/recovery.routes.ts'
import { createRecovery } from '../identity/accounts/recovery.service.ts'
import { createRefresh } from '../identity/accounts/refresh.service.ts'
import { createRegister } from '../identity/accounts/register.service.ts'
import { createSessionAnswers } from '../identity/accounts/session-answers.ts'
import { sessionRoutes } from '../identity/accounts/sessions.routes.ts'
import { createSessions } from '../identity/accounts/sessions.service.ts'
import { createWaysIn } from '../identity/accounts/ways-in.ts'
import { adminRoutes } from '../identity/admin/admin.routes.ts'
import { apiKeyRoutes } from '../identity/api-keys/api-keys.routes.ts'
import { createApiKeys } from '../identity/api-keys/api-keys.service.ts'
import { createEnrolment } from '../identity/factors/enrolment.service.ts'
import { mfaRoutes } from '../identity/factors/mfa.routes.ts'
import { createPasskeys } from '../identity/factors/passkeys.service.ts'
import { createStepUp } from '../identity/factors/step-up.ts'
import { createClientAssertions } from '../identity/oauth/client-assertion.ts'
import { createClientAuthentication } from '../identity/oauth/client-authentication.ts'
import { clientRoutes } from '../identity/oauth/clients.routes.ts'
import { createIntrospection } from '../identity/oauth/introspection.service.ts'
import { oauthRoutes } from '../identity/oauth/oauth.routes.ts'
import { createTokenGrant } from '../identity/oauth/token-grant.service.ts'
import { createTokenRevocation } from '../identity/oauth/token-revocation.service.ts'
import { accountPages } from '../identity/pages/account/account.pages.ts'
import { emailLoginPages } from '../identity/pages/email-login.pages.ts'
import { forgotPages } from '../identity/pages/forgot.pages.ts'
import { invitationPages } from '../identity/pages/invitation.pages.ts'
import { linkPages } from '../identity/pages/link.pages.ts'
import { loginPages } from '../identity/pages/login.pages.ts'
import { logoutPages } from '../identity/pages/logout.pages.ts'
import { createPageCookies } from '../identity/pages/page-cookies.ts'
import type { Pages } from '../identity/pages/page-kit.ts'
import { createPageSessions } from '../identity/pages/page-sessions.ts'
import { createPasskeyForms } from '../identity/pages/passkey-form.ts'
import { createProofForms } from '../identity/pages/proof-of-work.ts'
import { providerPages } from '../identity/pages/provider.pages.ts'
import { registerPages } from '../identity/pages/register.pages.ts'
import { createBackchannelLogout } from '../identity/providers/backchannel-logout.service.ts'
import { createFlowCookies } from '../identity/providers/flow-cookies.ts'
import { createFlows } from '../identity/providers/flows.ts'
import { createLinkedLogins } from '../identity/providers/linked-logins.service.ts'
import { createProviderLogout } from '../identity/providers/provider-logout.ts'
import { providersRoutes } from '../identity/providers/providers.routes.ts'
import { createSignIn } from '../identity/providers/sign-in.service.ts'
import type { FastifyTypeProviderTypebox } from '../platform/http/type-provider.ts'
import { contextOf } from '../platform/request/request-context.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { explainRoutes } from '../proxy/policy/explain.routes.ts'
import type { Access } from './access.ts'
import type { Identity } from './identity.ts'
import type { LoginServices } from './login-services.ts'
import { type PageFrame, serviceNameOf } from './page-frame.ts'
import type { Platform } from './platform.ts'
import { createUi } from './ui.ts'

export interface AccountApiDeps {
  platform: Platform
  identity: Identity
  access: Access
  loginServices: LoginServices
  /** Null without pages. */
  frame: PageFrame | null
  backgroundQueue: BackgroundQueue
  /** Registers the console. Null: it is not on the public listener. */
  mountConsole: ((auth: FastifyInstance) => Promise<void>) | null
  /** The errors of all processes, newest first. */
  lastErrors: () => Promise<ErrorRecord[]>
}

export interface AccountApi {
  /** Registers the endpoints below `auth.prefix`. */
  register(auth: FastifyTypeProviderTypebox): Promise<void>
}

export function createAccountApi({
  platform,
  identity,
  access,
  loginServices,
  frame,
  backgroundQueue,
  mountConsole,
  lastErrors,
}: AccountApiDeps): AccountApi {
  const { config, clock, metrics, db, secrets, outbox, isMailable } = platform
  const { revocations, accounts, passwords, policy, devices, providers } = identity
  const {
    accessTokens,
    refreshTokens,
    sessionOpener,
    grantsOf,
    keyAuthentication,
    limitInvalidTokens,
    ownLimits,
    requireAuth,
    crossSite,
    browser,
  } = access

  const { limits, proofOfWork, passwordCheck, loginCompletion, factor, codeAttempts, links, loginConfirmation } = loginServices
  const { login, loginMfa, reauthenticate, logout, mfaTokens } = loginServices
  const stepUp = createStepUp({ db, clock, accounts, outbox, passwordCheck, factor, codeAttempts })
  const enrolment = createEnrolment({ db, config, accounts, outbox, stepUp, factor, codeAttempts, sessionOpener })
  const sessions = createSessions({ db, accounts, config })
  const postProof = createPostProof({ links, outbox })
  const pending = createPendingRegistrations({ db, accounts, limits, links, outbox, backgroundQueue })
  const register = createRegister({
    db,
    accounts,
    config,
    passwords,
    policy,
    limits,
    proofOfWork,
    loginCompletion,
    postProof,
    isMailable,
    pending,
  })
  const verification = createEmailVerification({ db, accounts, passwords, limits, links, outbox, pending, postProof })
  const refresh = createRefresh({ refreshTokens, sessionOpener, limits, metrics })
  const profile = createProfile({
    db,
    accounts,
    auth: config.auth,
    tokens: config.tokens,
    limits,
    links,
    postProof,
    isMailable,
    outbox,
    stepUp,
  })
  const changePassword = createPasswordChange({ accounts, outbox, passwords, policy, stepUp, sessionOpener })
  const emailLogins =
    config.auth.emailLogin === 'on'
      ? createEmailLogins({
          db,
          accounts,
          outbox,
          limits,
          proofOfWork,
          devices,
          secrets: createEmailLoginSecrets({ secrets, clock }),
          links,
          loginCompletion,
          mfaTokens,
          factor,
          backgroundQueue,
          hasPages: config.auth.browser.enabled,
        })
      : null
  const recovery = createRecovery({ db, accounts, outbox, links, devices, passwords, policy, limits, proofOfWork, backgroundQueue })
  const apiKeys = createApiKeys({ db, accounts, stepUp, outbox, grantsOf, config })
  const deleteAccount = createAccountDeletion({ accounts, stepUp, eraseAccount: identity.eraseAccount })
  const assertions = createClientAssertions({ db, clock, config })
  const authenticateClient = createClientAuthentication({ db, accounts, limits, assertions, countCaller: ownLimits.caller })
  const grantToken = createTokenGrant({ accounts, authenticateClient, accessTokens, grantsOf })
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
    accounts,
    authenticateClient,
    accessTokens,
    apiKeys,
    logout,
    revocations,
    limitInvalidTokens,
  })

  const { auth } = config
  const publicBase = config.server.publicUrl + auth.prefix
  const invitations = createInvitations({ db, accounts, config, passwords, policy, limits, loginCompletion, grantsOf })
  const flows = createFlows({ db, secrets, base: publicBase })
  const signIn = createSignIn({
    db,
    accounts,
    secrets,
    auth,
    outbox,
    keepAdmin: identity.keepAdmin,
    flows,
    limits,
    devices,
    loginCompletion,
    loginConfirmation,
    sessionOpener,
    postProof,
    stepUp,
    mfaTokens,
    metrics,
    invitationOf: invitations.forProvider,
  })
  const waysIn = createWaysIn({
    auth,
    isConfigured: (issuer) => providers.withIssuer(issuer) !== null,
    rpId: loginServices.passkeys?.relyingParty.id ?? null,
  })
  const linkedLogins = createLinkedLogins({ db, outbox, stepUp, providers, waysIn })
  const passkeys =
    loginServices.passkeys &&
    createPasskeys({
      ...loginServices.passkeys,
      db,
      accounts,
      limits,
      outbox,
      stepUp,
      factor,
      sessionOpener,
      assertOtherWayIn: waysIn.assertOther,
    })
  const backchannelLogout = createBackchannelLogout({ db, accounts, limits })
  const providerLogout = createProviderLogout({ db, secrets, providers, returnUrl: `${publicBase}/ui/login?done=logout` })
  const flowCookies = createFlowCookies(crossSite, auth.prefix, () => clock.now() / 1000)

  const sessionAnswers = createSessionAnswers(browser && { cookies: browser.cookies, crossSite })
  const mountUi =
    frame && browser && createUi({ frame, requireAuth, saveLanguage: profile.chooseLanguage, ...pagesWith(frame, browser.cookies) })

  function pagesWith(
    { returnTo, base, assets, solver }: PageFrame,
    sessionCookies: SessionCookies,
  ): { pages: Pages[]; providerPages: Pages } {
    const factorStep = createFactorStep({ db, mfaTokens, limitInvalidTokens, factor })
    const passkeyForms =
      loginServices.passkeys &&
      createPasskeyForms({ ...loginServices.passkeys, crossSite, scriptPath: `${base}/${assets.passkeyScript.path}` })
    const cookies = createPageCookies(crossSite)
    const wideCookies = createPageCookies(crossSite, auth.prefix)
    const pageSessions = createPageSessions(sessionCookies, wideCookies, crossSite)
    const proofForms = createProofForms({ proofOfWork, solverPath: solver?.path ?? '', providers, auth })
    const invitation = invitationPages({
      invitations,
      providers,
      sessions: pageSessions,
      cookies: wideCookies,
      auth,
      serviceName: serviceNameOf(config),
    })
    const pages = [
      loginPages({
        login,
        loginMfa,
        reauthenticate,
        profile,
        linkedLogins,
        providers,
        sessions: pageSessions,
        cookies,
        wideCookies,
        returnTo,
        proofForms,
        auth,
        factorStep,
        passkeys: loginServices.passkeys && passkeyForms && { login: loginServices.passkeys.login, forms: passkeyForms },
      }),
      ...(emailLogins ? [emailLoginPages({ emailLogins, proofForms, sessions: pageSessions, cookies, wideCookies, returnTo })] : []),
      registerPages({ register, sessions: pageSessions, returnTo, proofForms, auth }),
      forgotPages({ ...recovery, proofForms }),
      linkPages({ verification, recovery, loginConfirmation, cookies, minLength: auth.password.minLength }),
      logoutPages({ logout, providers, providerLogout, sessions: pageSessions, cookies: wideCookies, returnTo }),
      invitation.pages,
      accountPages({
        auth,
        clock,
        secrets,
        crossSite,
        serviceName: serviceNameOf(config),
        profile,
        verification,
        changePassword,
        enrolment,
        sessions,
        logout,
        apiKeys,
        grantsOf,
        deleteAccount,
        sessionAnswers,
        leadOn: pageSessions.leadOn,
        returnTo,
        providers,
        linkedLogins,
        signIn,
        flowCookies,
        passkeys: passkeys && passkeyForms && { passkeys, passkeyForms },
      }),
    ]
    const ways = providerPages({
      providers,
      signIn,
      flowCookies,
      sessions: pageSessions,
      cookies,
      wideCookies,
      crossSite,
      returnTo,
      publicUrl: config.server.publicUrl,
      authPrefix: auth.prefix,
      invitationOf: invitation.tokenHashOf,
    })
    return { pages, providerPages: ways }
  }

  return {
    async register(auth) {
      await auth.register(
        authRoutes({
          register,
          login,
          loginMfa,
          reauthenticate,
          refresh,
          logout,
          sessionAnswers,
          requireAuth,
          usernames: config.auth.username,
        }),
      )
      await auth.register(
        meRoutes({ profile, changePassword, deleteAccount, sessionAnswers, requireAuth, usernames: config.auth.username }),
      )
      if (passkeys && loginServices.passkeys)
        await auth.register(
          passkeyRoutes({ passkeys, passkeyLogin: loginServices.passkeys.login, loginMfa, reauthenticate, sessionAnswers, requireAuth }),
        )
      if (emailLogins) await auth.register(emailLoginRoutes({ emailLogins, sessionAnswers }))
      await auth.register(mfaRoutes({ enrolment, sendCookie: sessionAnswers.send, requireAuth }))
      if (browser && frame) {
        await auth.register(ownSessionRoutes({ ownSession: createOwnSession({ db }), logout, sessionAnswers, crossSite, requireAuth }))
        await auth.register(
          providersRoutes({
            providers,
            signIn,
            linkedLogins,
            backchannelLogout,
            flowCookies,
            returnTo: (request, target) => frame.returnTo.of({ request, client: contextOf(request.raw).client }, target),
            authPrefix: config.auth.prefix,
            requireAuth,
          }),
        )
        await auth.register(invitationRoutes({ invitations, sessionAnswers, usernames: config.auth.username }))
      }
      await letRequestsPass()
      await auth.register(sessionRoutes({ sessions, requireAuth }))
      await auth.register(emailRoutes({ verification, requireAuth }))
      await auth.register(pageRoutes(config))
      await auth.register(recoveryRoutes(recovery))
      if (proofOfWork.isEnabled) await auth.register(challengeRoutes(proofOfWork))
      await auth.register(loginConfirmationRoutes(loginConfirmation))
      await auth.register(apiKeyRoutes({ apiKeys, requireAuth }))
      await auth.register(oauthRoutes({ grantToken, introspect, revokeToken }))
      await auth.register(clientRoutes({ clients: identity.clients, requireAuth }))
      await auth.register(
        adminRoutes({
          read: platform.database.read,
          administration: identity.administration,
          config,
          lastErrors,
          registerExplain: explainRoutes({ config, data: platform.data, find: identity.administration.find, now: () => clock.now() }),
          requireAuth,
        }),
      )
      await letRequestsPass()
      await mountUi?.(auth)
      await letRequestsPass()
      await mountConsole?.(auth)
    },
  }
}
