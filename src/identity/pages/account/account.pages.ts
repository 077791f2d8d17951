/** The pages of the own account, below `{prefix}/ui/account`. */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../../../platform/config/schema.ts'
import type { Clock } from '../../../platform/lib/clock.ts'
import type { Secrets } from '../../../platform/vault/secrets.ts'
import type { CrossSite } from '../../access/cross-site.ts'
import type { PageKit } from '../page-kit.ts'
import { createAccountFrame, type Section } from './account-frame.ts'
import { type ApiKeysDeps, apiKeysPage } from './api-keys.pages.ts'
import { type DeleteDeps, deletePages } from './delete.pages.ts'
import { type FactorsDeps, factorsPage } from './factors.pages.ts'
import { type LoginsDeps, loginsPage } from './logins.pages.ts'
import { type OverviewDeps, overviewPage } from './overview.pages.ts'
import { type PasskeysPageDeps, passkeysPage } from './passkeys.pages.ts'
import { type PasswordDeps, passwordPage } from './password.pages.ts'
import { type ProfileDeps, profilePage } from './profile.pages.ts'
import { type SessionsDeps, sessionsPage } from './sessions.pages.ts'
import { createShownOnce } from './shown-once.ts'

type Services = Pick<OverviewDeps, 'enrolment'> &
  Pick<ProfileDeps, 'profile' | 'verification'> &
  Pick<PasswordDeps, 'changePassword' | 'sessionAnswers' | 'leadOn' | 'returnTo'> &
  Pick<FactorsDeps, 'enrolment' | 'serviceName'> &
  Pick<SessionsDeps, 'sessions' | 'logout'> &
  Pick<ApiKeysDeps, 'apiKeys' | 'grantsOf'> &
  Pick<LoginsDeps, 'providers' | 'linkedLogins' | 'signIn' | 'flowCookies'> &
  Pick<DeleteDeps, 'deleteAccount'>

export interface AccountPagesDeps extends Services {
  auth: Pick<Config['auth'], 'prefix' | 'username' | 'emailVerification' | 'password'>
  clock: Clock
  secrets: Pick<Secrets, 'seal' | 'open'>
  crossSite: CrossSite
  /** Null where passkeys are not enabled. */
  passkeys: Pick<PasskeysPageDeps, 'passkeys' | 'passkeyForms'> | null
}

export const accountPages = (deps: AccountPagesDeps) => (app: FastifyInstance, kit: PageKit) => {
  const { auth, clock, secrets, crossSite } = deps
  const base = `${auth.prefix}/ui`
  const hidden = new Set<Section>([
    ...(deps.providers.list.length > 0 ? [] : (['/logins'] as const)),
    ...(deps.passkeys ? [] : (['/passkeys'] as const)),
  ])
  const frame = createAccountFrame({ base, clock, hidden })
  const shownOnce = createShownOnce({ path: `${base}/account`, secrets, crossSite, clock })
  const all = { ...deps, base, frame, shownOnce, minLength: auth.password.minLength, hasPasskeys: deps.passkeys !== null }
  const pages = [
    overviewPage(all),
    profilePage(all),
    passwordPage(all),
    factorsPage(all),
    ...(deps.passkeys ? [passkeysPage({ ...all, ...deps.passkeys })] : []),
    ...(deps.providers.list.length > 0 ? [loginsPage(all)] : []),
    sessionsPage(all),
    apiKeysPage(all),
    ...deletePages(all),
  ]
  for (const page of pages) kit.define(app, page)
}
