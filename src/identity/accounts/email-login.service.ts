/**
 * The login with a mailed code or link. The code works with the token of the flow alone, which only the asking browser or app has. The link
 * works where it is opened. Both prove that the user reads the mailbox, and are no factor.
 *
 * The mailbox is what an account without a proven address lacks, so the first login by mail removes all that was added before: see
 * `first-proof.ts`. It also stands for the link that a login needs after an administrator has removed the factor: that link proves the same.
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { type ErrorCode, type Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { listedDeviceName } from '../../platform/request/device-name.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { ProofOfWork } from '../credentials/proof-of-work.ts'
import type { FactorMethod, SecondFactor } from '../factors/second-factor.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { BY_EMAIL } from '../tokens/amr.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { findUserById, findUserByLogin, hasPassword, lockUser, NO_PASSWORD, type User, updateUser } from '../users/users.repo.ts'
import type { BackgroundQueue } from './background-queue.ts'
import type { Entered, Held, LoginCompletion } from './complete-login.ts'
import type { Devices } from './devices.ts'
import { EMAIL_LOGIN_SECONDS, type EmailLoginSecrets } from './email-login-secrets.ts'
import {
  type EmailLogin,
  findEmailLoginByFlow,
  findEmailLoginByLink,
  insertEmailLogin,
  takeEmailLogin,
  trimEmailLogins,
} from './email-logins.repo.ts'
import { removeUnprovenCredentials } from './first-proof.ts'
import { type LinkDetails, type Links, linkHash } from './links.ts'

export interface EmailLoginDeps {
  db: Db
  accounts: Accounts
  outbox: Outbox
  limits: CredentialLimits
  proofOfWork: Pick<ProofOfWork, 'require'>
  devices: Devices
  secrets: EmailLoginSecrets
  links: Pick<Links, 'mint'>
  loginCompletion: LoginCompletion
  mfaTokens: MfaTokens
  factor: Pick<SecondFactor, 'methodsOf'>
  backgroundQueue: BackgroundQueue
  /** Whether there is a page for the link. Without one, the mail holds the code alone. */
  hasPages: boolean
}

interface Choice extends SessionChoice {
  device_token?: string
}
type CodeInput = Choice & { flow_token: string; code: string }
type LinkInput = Choice & { token: string }

export type LoggedInByMail = ReturnType<LoginCompletion['answer']> | { mfa_required: true; mfa_token: string; methods: FactorMethod[] }

export interface EmailLogins {
  /** Answers before the account is looked up: neither the answer nor its time depends on whether there is an account. @throws proof_of_work_required, rate_limited */
  request(
    input: { email: string; proof_of_work?: string | undefined },
    context: RequestContext,
  ): Promise<{ status: 'accepted'; flow_token: string }>
  /** @throws flow_invalid, invalid_code, rate_limited */
  byCode(input: CodeInput, context: RequestContext): Promise<LoggedInByMail>
  /** @throws link_invalid, rate_limited */
  byLink(input: LinkInput, context: RequestContext): Promise<LoggedInByMail>
  /** What the page of the link shows. The link stays as it is. @throws link_invalid, rate_limited */
  details(token: string, context: RequestContext): Promise<LinkDetails>
}

/** A further one ends the oldest: see `trimEmailLogins`. */
const MAX_FLOWS = 3
const PURPOSE = 'email_login'

export function createEmailLogins(deps: EmailLoginDeps): EmailLogins {
  const {
    db,
    accounts,
    outbox,
    limits,
    proofOfWork,
    devices,
    secrets,
    links,
    loginCompletion,
    mfaTokens,
    factor,
    backgroundQueue,
    hasPages,
  } = deps

  async function request({ email, proof_of_work }: { email: string; proof_of_work?: string | undefined }, context: RequestContext) {
    await proofOfWork.require('email_login', proof_of_work, context)
    await limits.startEmailLogin(context.client)
    const { token, hash } = secrets.begin()
    backgroundQueue.add('the mail for a login', context.requestId, () => send(email, hash, context))
    return { status: 'accepted' as const, flow_token: token }
  }

  async function send(email: string, flowHash: Buffer, context: AuditContext): Promise<void> {
    const address = canonicalEmail(email.trim())
    // Postgres stores no NUL, and a username is not an address
    const isAddress = address.includes('@') && !address.includes('\0')
    const user = isAddress ? await findUserByLogin(db, address) : undefined
    const isKnown = user !== undefined && (await devices.recognise(user, null, context.ip)) !== null
    const maySend = await limits.mail(address, PURPOSE, isKnown ? 'owner' : 'stranger')
    const outcome = await accounts.transaction(PURPOSE, context, async ({ trx, record }) => {
      const reached = user && (await lockUser(trx, user.id))
      const isOpen = reached?.email_canonical === address && !reached.disabled_at
      const result = !maySend ? 'rate_limited' : isOpen ? 'success' : 'not_found'
      if (result === 'success') await post(trx, reached!, { flowHash, isKnown }, context)
      await record({ outcome: result, userId: user?.id ?? null })
      return result
    })
    accounts.count(PURPOSE, outcome)
  }

  /** @param user locked by this transaction */
  async function post(trx: Transaction, user: User, flow: { flowHash: Buffer; isKnown: boolean }, context: AuditContext): Promise<void> {
    const { id: userId, email, session_epoch } = user
    const id = uuidv7()
    const { code, mac } = secrets.newCode(id)
    const link = hasPages ? links.mint(PURPOSE) : null
    const now = await databaseNow(trx)
    const device = listedDeviceName(context.userAgent)
    await trimEmailLogins(trx, user, MAX_FLOWS - 1)
    await insertEmailLogin(trx, {
      id,
      user_id: userId,
      flow_hash: flow.flowHash,
      code_mac: mac,
      link_hash: link?.tokenHash ?? null,
      email,
      session_epoch,
      is_known: flow.isKnown,
      device,
      created_at: now,
      expires_at: new Date(now.getTime() + EMAIL_LOGIN_SECONDS * 1000),
    })
    const data = { code, url: link?.url ?? null, minutes: EMAIL_LOGIN_SECONDS / 60, at: now.toISOString(), device }
    const language = context.language ?? user.language
    await outbox.post(trx, { template: PURPOSE, data, to: email, language, userId, ttlSeconds: EMAIL_LOGIN_SECONDS })
  }

  /** The same work for an address without an account, whose flow has no row. */
  const byCode = ({ flow_token, code, ...choice }: CodeInput, context: RequestContext) =>
    limits.emailLogin(context.client, async () => {
      const hash = secrets.open(flow_token)
      const login = await findEmailLoginByFlow(db, hash)
      // flows of a known device or network have a budget of their own, which strangers cannot use up
      const account = login ? { id: login.user_id + (login.is_known ? '|known' : ''), unlocks: login.unlocks } : { unknown: flow_token }
      return limits.mailedCode(hash, account, async (isChecked) => {
        const isRight = secrets.isCode(login, code) && isChecked
        return (isRight && (await enter(login!, choice, context))) || (await refuse('invalid_code', login, context))
      })
    })

  const byLink = ({ token, ...choice }: LinkInput, context: RequestContext) =>
    limits.emailLogin(context.client, async () => {
      const hash = linkHash(token)
      const login = hash === null ? undefined : await findEmailLoginByLink(db, hash)
      return (login && (await enter(login, choice, context))) ?? (await refuse('link_invalid', login, context))
    })

  const details = (token: string, context: RequestContext): Promise<LinkDetails> =>
    limits.emailLogin(context.client, async () => {
      const hash = linkHash(token)
      const login = hash === null ? undefined : await findEmailLoginByLink(db, hash)
      const owner = login && (await findUserById(db, login.user_id))
      if (!owner || !isLiving(login, owner, await databaseNow(db))) throw problem('link_invalid')
      const { email, device, created_at } = login
      return { username: owner.username, email, requested_at: created_at.toISOString(), device }
    })

  /** Uses the login up, by its code or its link. @returns null when it no longer lives, or was used meanwhile */
  async function enter(login: EmailLogin, choice: Choice, context: RequestContext): Promise<LoggedInByMail | null> {
    const { device_token: token } = choice
    const device = { token, device: token === undefined ? null : await devices.find(token) }
    const entered = await accounts.transaction('login', context, async (tx): Promise<Entered | Held | User | null> => {
      // lock order: the user first
      const owner = await lockUser(tx.trx, login.user_id)
      const taken = await takeEmailLogin(tx.trx, login.id)
      const now = await databaseNow(tx.trx)
      if (!owner || !taken || !isLiving(taken, owner, now)) return null
      const user = hasProvenAddress(owner) ? await proveAgain(tx, owner, now) : await proveFirst(tx, owner, now, context)
      if (!user.mfa_enabled)
        return loginCompletion.enter(tx, user, { amr: [...BY_EMAIL], device, wish: wishOf(choice), detail: 'email' }, context)
      await tx.record({ outcome: 'mfa_required', userId: user.id, detail: 'email' })
      return user
    })
    if (entered === null) return null
    // the mailbox is what a known device would stand for
    if ('held' in entered) throw await loginCompletion.refusal(entered, 'owner', context)
    if ('session' in entered) return loginCompletion.answer(entered)
    const { id: userId, session_epoch: sessionEpoch } = entered
    const mfa_token = await mfaTokens.issue({ userId, sessionEpoch, amr: BY_EMAIL })
    return { mfa_required: true, mfa_token, methods: await factor.methodsOf(db, userId) }
  }

  /** An operator may have vouched for an address that no link has proven yet. Access tokens say whether it is proven. */
  async function proveAgain({ trx, revoke }: AccountTransaction, owner: User, now: Date): Promise<User> {
    if (owner.email_verified_at && !owner.must_confirm_login) return owner
    const email_verified_at = owner.email_verified_at ?? now
    await updateUser(trx, owner.id, { email_verified_at, must_confirm_login: false })
    if (!owner.email_verified_at) await revoke.outdateTokens(owner.id)
    return (await findUserById(trx, owner.id))!
  }

  async function proveFirst(tx: AccountTransaction, owner: User, now: Date, context: AuditContext): Promise<User> {
    const { trx, record, revoke } = tx
    const { id: userId, email: to } = owner
    const proven = { email_verified_at: now, must_confirm_login: false }
    await updateUser(trx, userId, { ...proven, password_hash: NO_PASSWORD, password_must_change: false })
    await removeUnprovenCredentials(tx, userId, now)
    await revoke.allSessions(userId, PURPOSE)
    await record({ event: 'email_verify', userId, detail: 'login by mail' })
    if (hasPassword(owner)) await outbox.post(trx, { template: 'password_changed', data: noticeContextOf(now, context), to, userId })
    return (await findUserById(trx, userId))!
  }

  async function refuse(outcome: ErrorCode, login: EmailLogin | undefined, context: AuditContext): Promise<never> {
    await accounts.record('login', { outcome, userId: login?.user_id ?? null, detail: 'email' }, context)
    throw refused(outcome)
  }

  const outcomeOf = (answer: LoggedInByMail) => ('mfa_required' in answer ? 'mfa_required' : 'success')
  return {
    request,
    details,
    byCode: accounts.counted('login', byCode, outcomeOf),
    byLink: accounts.counted('login', byLink, outcomeOf),
  }
}

const refused = (code: ErrorCode): Problem =>
  problem(code, { cause: 'the code or the link is wrong, used, expired or outdated, or the account has had too many wrong codes' })

/** A password change and the end of all sessions end it, and so does a new address. */
const isLiving = (login: EmailLogin, owner: User, now: Date): boolean =>
  !owner.disabled_at &&
  login.session_epoch === owner.session_epoch &&
  canonicalEmail(login.email) === owner.email_canonical &&
  login.expires_at > now
