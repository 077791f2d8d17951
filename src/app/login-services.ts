/** Builds the services by which users log in, authenticate again and log out. The account API and the console share them. */
import { createLoginCompletion, type LoginCompletion } from '../identity/accounts/complete-login.ts'
import { createLinks, type Links } from '../identity/accounts/links.ts'
import { createLogin } from '../identity/accounts/login.service.ts'
import { createLoginConfirmation, type LoginConfirmation } from '../identity/accounts/login-confirmation.service.ts'
import { createLoginCountries } from '../identity/accounts/login-countries.ts'
import { createLoginMfa } from '../identity/accounts/login-mfa.service.ts'
import { createLogout } from '../identity/accounts/logout.service.ts'
import { createPasskeyLogin, type PasskeyLogin } from '../identity/accounts/passkey-login.service.ts'
import { createReauthentication } from '../identity/accounts/reauthentication.service.ts'
import { type CredentialLimits, createCredentialLimits } from '../identity/credentials/credential-limits.ts'
import { createLoginFailures } from '../identity/credentials/login-failures.ts'
import { createPasswordCheck, type PasswordCheck } from '../identity/credentials/password-check.ts'
import { createProofOfWork, type ProofOfWork } from '../identity/credentials/proof-of-work.ts'
import { type CodeAttempts, createCodeAttempts } from '../identity/factors/code-attempts.ts'
import { type Ceremonies, createCeremonies, type RelyingParty } from '../identity/factors/passkey-ceremonies.ts'
import { createPasskeyCheck, NO_PASSKEYS } from '../identity/factors/passkey-check.ts'
import { relyingPartyOf } from '../identity/factors/relying-party.ts'
import { createSecondFactor, type SecondFactor } from '../identity/factors/second-factor.ts'
import { createMfaTokens, type MfaTokens } from '../identity/tokens/mfa-tokens.ts'
import { markUsed } from '../identity/tokens/used-tokens.repo.ts'
import type { Access } from './access.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import { serviceNameOf } from './page-frame.ts'
import type { Platform } from './platform.ts'

export interface LoginServices {
  limits: CredentialLimits
  proofOfWork: ProofOfWork
  passwordCheck: PasswordCheck
  loginCompletion: LoginCompletion
  factor: SecondFactor
  codeAttempts: CodeAttempts
  links: Links
  loginConfirmation: LoginConfirmation
  mfaTokens: MfaTokens
  /** Null where passkeys are not enabled. */
  passkeys: { relyingParty: RelyingParty; ceremonies: Ceremonies; login: PasskeyLogin } | null
  login: ReturnType<typeof createLogin>
  loginMfa: ReturnType<typeof createLoginMfa>
  reauthenticate: ReturnType<typeof createReauthentication>
  logout: ReturnType<typeof createLogout>
}

export interface LoginServicesDeps {
  platform: Platform
  identity: Identity
  access: Pick<Access, 'sessionOpener' | 'refreshTokens' | 'limitInvalidTokens'>
  limits: Pick<Limits, 'limiter'>
}

export function createLoginServices({ platform, identity, access, limits: { limiter } }: LoginServicesDeps): LoginServices {
  const { config, clock, metrics, db, secrets, outbox } = platform
  const { keyring, accounts, passwords, devices } = identity
  const { sessionOpener, refreshTokens, limitInvalidTokens } = access

  const limits = createCredentialLimits({ limiter, clock, secrets }, config.limits.credentials)
  const failures = createLoginFailures(limiter, config.auth.proofOfWork.loginFailures)
  const proofOfWork = createProofOfWork(
    { secrets, clock, metrics, failures, markUsed: (id, expiresAt) => markUsed(db, 'pow', id, expiresAt) },
    config.auth.proofOfWork,
  )
  const passwordCheck = createPasswordCheck({ db, accounts, passwords, limits })
  const mfaTokens = createMfaTokens({ keyring, issuer: config.tokens.issuer, clock })
  const relyingParty = relyingPartyOf(config, serviceNameOf(config))
  const ceremonies = relyingParty && createCeremonies({ relyingParty, secrets, clock })
  const passkeyCheck = ceremonies ? createPasskeyCheck({ db, ceremonies }) : NO_PASSKEYS
  const factor = createSecondFactor({ secrets, rpId: relyingParty?.id ?? null })
  const codeAttempts = createCodeAttempts({ accounts, limits, outbox, metrics })
  const links = createLinks(config)
  const countries = createLoginCountries({ geo: platform.data.geo, mode: config.auth.newCountry, metrics })
  const loginConfirmation = createLoginConfirmation({ db, accounts, limits, links, outbox, countries })
  const loginCompletion = createLoginCompletion({ sessionOpener, devices, countries, loginConfirmation, outbox })
  return {
    limits,
    proofOfWork,
    passwordCheck,
    loginCompletion,
    factor,
    codeAttempts,
    links,
    loginConfirmation,
    mfaTokens,
    passkeys: relyingParty &&
      ceremonies && {
        relyingParty,
        ceremonies,
        login: createPasskeyLogin({
          db,
          accounts,
          limits,
          devices,
          loginCompletion,
          loginConfirmation,
          mfaTokens,
          limitInvalidTokens,
          relyingParty,
          ceremonies,
          passkeyCheck,
        }),
      },
    login: createLogin({ db, accounts, passwords, limits, proofOfWork, devices, loginCompletion, loginConfirmation, mfaTokens, factor }),
    loginMfa: createLoginMfa({
      db,
      accounts,
      mfaTokens,
      limitInvalidTokens,
      factor,
      codeAttempts,
      passkeyCheck,
      limits,
      devices,
      loginCompletion,
      outbox,
    }),
    reauthenticate: createReauthentication({
      db,
      accounts,
      outbox,
      passwordCheck,
      factor,
      codeAttempts,
      passkeyCheck,
      limits,
      sessionOpener,
    }),
    logout: createLogout({ accounts, refreshTokens }),
  }
}
