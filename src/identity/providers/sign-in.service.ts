/**
 * Sign-in with a provider: the way out, and the way back. A login opens a session as a login with a password does: devices, limits, audit and
 * a second factor are the same. The provider stands for the password alone (`amr: fed`).
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import type { Principal } from '../access/principal.ts'
import type { Entered as EnteredLogin, Held, LoginCompletion } from '../accounts/complete-login.ts'
import type { Devices } from '../accounts/devices.ts'
import { findLinkedLogin, insertProviderLogin, type LinkedLogin } from '../accounts/linked-logins.repo.ts'
import type { LoginConfirmation } from '../accounts/login-confirmation.service.ts'
import type { PostProof } from '../accounts/post-proof.ts'
import { asTaken } from '../accounts/register.service.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Proof, StepUp } from '../factors/step-up.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import type { CookieWish, NewCookie } from '../sessions/cookie-values.ts'
import { cookieOf } from '../sessions/lock-caller.ts'
import type { SessionOpener } from '../sessions/open-session.ts'
import { BY_PROVIDER, showsFactor } from '../tokens/amr.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import type { User } from '../users/users.repo.ts'
import { assertAllowed } from './email-trust.ts'
import type { Flows, NewFlow } from './flows.ts'
import type { LoginFlow } from './login-flows.repo.ts'
import type { ProvenLogin, Provider } from './provider.ts'
import { createProviderAccounts, type Invited, type ProviderAccountsDeps } from './provider-account.ts'
import { providerRefused } from './provider-errors.ts'

export interface Started {
  /** Where the browser goes. */
  url: URL
  flow: Pick<NewFlow, 'state' | 'secret'>
}

export type Finished = { returnTo: string | null } & (
  | { kind: 'entered'; answer: { cookie: NewCookie; device_token: string } }
  | { kind: 'factor'; mfaToken: string; isPersistent: boolean }
  | { kind: 'linked' }
  | { kind: 'again'; answer: { cookie: NewCookie } }
)

export interface SignIn {
  /** @param mustAsk the provider asks for the credential again: the user has just logged out here */
  login(provider: Provider, wish: LoginWish, context: RequestContext): Promise<Started>
  /** For a user who proves again who they are. @throws provider_refused when the provider cannot show that it asked again */
  reauthenticate(provider: Provider, principal: Principal, returnTo: string | null, context: RequestContext): Promise<Started>
  /** For a user who adds a login of the provider. @throws reauthentication_required */
  link(provider: Provider, principal: Principal, proof: Proof, returnTo: string | null, context: RequestContext): Promise<Started>
  /** Keeps an answer that came by form. @throws flow_invalid */
  keep(provider: Provider, answer: URLSearchParams, secret: string | null, context: RequestContext): Promise<void>
  /**
   * @param secret of the cookie of this sign-in
   * @param principal the caller's session; null without one
   */
  finish(provider: Provider, answer: URLSearchParams, browser: Browser, context: RequestContext): Promise<Finished>
}

export interface LoginWish {
  returnTo: string | null
  isPersistent: boolean
  mustAsk: boolean
  /** SHA-256 of the token of an invitation. */
  invitation: Buffer | null
}

export interface Browser {
  secret: string | null
  principal: Principal | null
  deviceToken: string | undefined
}

export interface SignInDeps extends ProviderAccountsDeps {
  db: Db
  accounts: Accounts
  secrets: Secrets
  flows: Flows
  limits: CredentialLimits
  devices: Devices
  loginCompletion: LoginCompletion
  loginConfirmation: LoginConfirmation
  sessionOpener: SessionOpener
  postProof: PostProof
  stepUp: StepUp
  mfaTokens: MfaTokens
  metrics: Pick<Metrics, 'providerLogins'>
  /** @throws invitation_invalid */
  invitationOf(tx: AccountTransaction, tokenHash: Buffer): Promise<Invited>
}

/** A provider that does not say when the person authenticated proves no recent login. */
const LONG_AGO = new Date(0)

export function createSignIn(deps: SignInDeps): SignIn {
  const { db, accounts, secrets, flows, limits, devices, loginCompletion, loginConfirmation, sessionOpener, postProof, stepUp } = deps
  const { mfaTokens, metrics, invitationOf } = deps
  const providerAccounts = createProviderAccounts(deps)

  async function start(provider: Provider, begun: NewFlow, mustAsk: boolean): Promise<Started> {
    const { state, secret, expected } = begun
    return { url: await provider.begin({ ...expected, mustAsk }), flow: { state, secret } }
  }

  async function confirmed(
    tx: AccountTransaction,
    linked: LinkedLogin,
    { sid, idToken }: ProvenLogin,
    sessionId: string | null,
  ): Promise<string> {
    const id = uuidv7()
    const place = { table: 'provider_logins', row: id, column: 'id_token_sealed', owner: linked.user_id }
    await insertProviderLogin(tx.trx, {
      id,
      linked_login_id: linked.id,
      session_id: sessionId,
      provider_sid: sid,
      id_token_sealed: idToken === null ? null : secrets.seal(place, Buffer.from(idToken)),
      created_at: await databaseNow(tx.trx),
    })
    return id
  }

  type Entered =
    | { kind: 'entered'; entered: EnteredLogin }
    | { kind: 'held'; held: Held; isKnown: boolean }
    | { kind: 'factor'; user: User; entry: string }
    | { kind: 'unconfirmed'; user: User; isKnown: boolean }

  async function enter(
    provider: Provider,
    flow: LoginFlow,
    login: ProvenLogin,
    deviceToken: string | undefined,
    context: RequestContext,
  ): Promise<Finished> {
    const { return_to: returnTo, is_persistent: isPersistent } = flow
    const presented = deviceToken === undefined ? null : await devices.find(deviceToken)
    const work = accounts.transaction('login', context, async (tx): Promise<Entered> => {
      const invited = flow.invitation && (await invitationOf(tx, flow.invitation))
      const { user, linked, isNew } = await providerAccounts.admit(tx, provider, login, invited, context)
      if (user.must_confirm_login)
        return { kind: 'unconfirmed', user, isKnown: (await devices.recognise(user, presented, context.ip)) !== null }
      if (user.mfa_enabled) {
        await tx.record({ outcome: 'mfa_required', userId: user.id, detail: provider.id })
        return { kind: 'factor', user, entry: await confirmed(tx, linked, login, null) }
      }
      const wish: CookieWish = { purpose: 'browser', isPersistent }
      const device = { token: deviceToken, device: presented }
      const entry = { amr: [...BY_PROVIDER], authTime: login.authTime ?? LONG_AGO, device, wish, detail: provider.id }
      const entered = await loginCompletion.enter(tx, user, entry, context)
      if ('held' in entered)
        return { kind: 'held', held: entered, isKnown: (await devices.recognise(user, presented, context.ip)) !== null }
      await confirmed(tx, linked, login, entered.session.id)
      if (isNew && !hasProvenAddress(user) && (await limits.mail(user.email, 'verify_email', 'stranger')))
        await postProof(tx.trx, user, user.email, entered.session.id, context)
      return { kind: 'entered', entered }
    })
    const done = await work.catch((error) => {
      throw asTaken(error)
    })
    if (done.kind === 'unconfirmed') throw await loginConfirmation.request(done.user, done.isKnown ? 'owner' : 'stranger', context)
    if (done.kind === 'held') throw await loginCompletion.refusal(done.held, done.isKnown ? 'owner' : 'stranger', context)
    if (done.kind === 'factor') {
      const mfaToken = await mfaTokens.issue({
        userId: done.user.id,
        sessionEpoch: done.user.session_epoch,
        amr: BY_PROVIDER,
        providerLogin: done.entry,
      })
      return { kind: 'factor', mfaToken, isPersistent, returnTo }
    }
    return { kind: 'entered', answer: loginCompletion.answer(done.entered) as { cookie: NewCookie; device_token: string }, returnTo }
  }

  /** The session that has begun the sign-in must be the session that ends it. @throws flow_invalid */
  function requireSameSession({ user_id, session_id }: LoginFlow, principal: Principal | null): Principal {
    if (principal?.kind !== 'user' || principal.id !== user_id || principal.sessionId !== session_id)
      throw problem('flow_invalid', { cause: 'another session has begun this sign-in' })
    return principal
  }

  async function finishLink(
    provider: Provider,
    flow: LoginFlow,
    login: ProvenLogin,
    caller: Principal | null,
    context: AuditContext,
  ): Promise<Finished> {
    const principal = requireSameSession(flow, caller)
    await accounts.transaction('login_link', context, async (tx) => {
      const user = await tx.lockCaller(principal)
      await providerAccounts.link(tx, user, provider, login, context)
    })
    return { kind: 'linked', returnTo: flow.return_to }
  }

  async function finishAgain(
    provider: Provider,
    flow: LoginFlow,
    login: ProvenLogin,
    caller: Principal | null,
    context: AuditContext,
  ): Promise<Finished> {
    const principal = requireSameSession(flow, caller)
    const opened = await accounts.transaction('reauthenticate', context, async (tx) => {
      const user = await tx.lockCaller(principal)
      const linked = await findLinkedLogin(tx.trx, provider.issuer, login.subject)
      if (linked?.user_id !== user.id) throw providerRefused('this login at the provider belongs to another account')
      const held = await cookieOf(tx.trx, principal)
      if (!held) throw problem('flow_invalid', { cause: 'the session has no cookie' })
      const now = await databaseNow(tx.trx)
      // a factor that was shown before stays shown, and is no more recent than it was
      const { amr, auth_time } = held.cookie
      const level = showsFactor(amr) ? { amr, auth_time } : { amr: [...BY_PROVIDER], auth_time: now }
      const raised = await sessionOpener.raise(tx, user, held.session, { ...held.cookie, ...level })
      await tx.record({ userId: user.id, sessionId: raised.session.id, detail: provider.id })
      return raised
    })
    return { kind: 'again', answer: sessionOpener.answer(opened) as { cookie: NewCookie }, returnTo: flow.return_to }
  }

  async function finish(provider: Provider, answer: URLSearchParams, { secret, principal, deviceToken }: Browser, context: RequestContext) {
    return limits.provider(context.client, async () => {
      const { flow, expected, answer: given } = await flows.take(provider, answer, secret)
      try {
        const login = await provider.finish(given, expected)
        assertAllowed(provider.settings, login)
        if (flow.intent === 'link') return await finishLink(provider, flow, login, principal, context)
        if (flow.intent === 'reauthenticate') return await finishAgain(provider, flow, login, principal, context)
        return await enter(provider, flow, login, deviceToken, context)
      } catch (error) {
        if (error instanceof Problem && error.status < 500)
          await accounts.record('provider_login', { outcome: error.code, userId: flow.user_id, detail: provider.id }, context)
        throw error
      }
    })
  }

  const counting =
    <A extends [Provider, ...unknown[]], R extends { kind: string }>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const [{ id }] = args
      try {
        const done = await work(...args)
        metrics.providerLogins.inc({ provider: id, outcome: done.kind === 'factor' ? 'mfa_required' : 'success' })
        return done
      } catch (error) {
        metrics.providerLogins.inc({ provider: id, outcome: error instanceof Problem ? error.code : 'internal' })
        throw error
      }
    }

  return {
    async login(provider, { returnTo, isPersistent, mustAsk, invitation }, context) {
      await limits.startProvider(context.client)
      const purpose = {
        intent: 'login',
        user_id: null,
        session_id: null,
        invitation,
        return_to: returnTo,
        is_persistent: isPersistent,
      } as const
      return start(provider, await flows.begin(db, provider, purpose), mustAsk)
    },
    async reauthenticate(provider, principal, returnTo, context) {
      if (!provider.provesFreshness) throw providerRefused('the provider does not say when a user has authenticated')
      await limits.startProvider(context.client)
      return start(provider, await flows.begin(db, provider, purposeOf('reauthenticate', principal, returnTo)), true)
    },
    async link(provider, principal, proof, returnTo, context) {
      await limits.startProvider(context.client)
      const proven = await stepUp(principal, proof, context)
      const begun = await proven.commit('login_link_begin', async (tx, { user }) => {
        await tx.record({ userId: user.id, detail: provider.id })
        return flows.begin(tx.trx, provider, purposeOf('link', principal, returnTo))
      })
      return start(provider, begun, false)
    },
    keep: (provider, answer, secret, context) => limits.provider(context.client, () => flows.keep(provider, answer, secret)),
    finish: counting(finish),
  }
}

const purposeOf = (intent: 'link' | 'reauthenticate', { id, sessionId }: Principal, returnTo: string | null) => ({
  intent,
  user_id: id,
  session_id: sessionId,
  invitation: null,
  return_to: returnTo,
  is_persistent: false,
})
