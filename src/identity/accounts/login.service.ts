/** Finds the user, checks the password with equal work for every name, asks for a second factor if one is set up, and opens the session. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Db } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Passwords, QueueSlot } from '../credentials/passwords.ts'
import type { ProofOfWork } from '../credentials/proof-of-work.ts'
import type { SecondFactor } from '../factors/second-factor.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type CookieWish, type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { BY_PASSWORD } from '../tokens/amr.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { canonicalLogin } from '../users/canonical-login.ts'
import { findUserByLogin, lockUser, replaceHash, type User } from '../users/users.repo.ts'
import type { LoginCompletion } from './complete-login.ts'
import type { Device } from './devices.repo.ts'
import type { Devices } from './devices.ts'
import type { LoginConfirmation } from './login-confirmation.service.ts'

export interface LoginDeps {
  db: Db
  accounts: Accounts
  passwords: Passwords
  limits: CredentialLimits
  proofOfWork: Pick<ProofOfWork, 'login'>
  devices: Devices
  loginCompletion: LoginCompletion
  loginConfirmation: LoginConfirmation
  mfaTokens: MfaTokens
  factor: Pick<SecondFactor, 'methodsOf'>
}

export interface LoginInput extends SessionChoice {
  login: string
  password: string
  device_token?: string
  proof_of_work?: string
}

/** Stands for an unknown user in the lookup of devices, so that the work is the same. */
const NOBODY = { id: '00000000-0000-0000-0000-000000000000' }

export function createLogin({
  db,
  accounts,
  passwords,
  limits,
  proofOfWork,
  devices,
  loginCompletion,
  loginConfirmation,
  mfaTokens,
  factor,
}: LoginDeps) {
  async function login(input: LoginInput, context: RequestContext) {
    const lane = input.device_token === undefined ? 'stranger' : 'known'
    const enterQueue = () => passwords.admit(lane, (slot) => admitted(input, slot, context))
    // the admin listener gives out no challenges, and strangers do not reach it
    if (input.session === 'console') return enterQueue()
    // a full queue uses no solution up
    passwords.assertRoom(lane)
    return proofOfWork.login(input.proof_of_work, context, enterQueue)
  }

  async function admitted(input: LoginInput, slot: QueueSlot, context: RequestContext) {
    const presented = input.device_token === undefined ? null : await devices.find(input.device_token)
    if (!presented) slot.moveTo('stranger')
    const name = canonicalLogin(input.login)
    // a pending registration is not a user yet: anybody can register any address, and must not learn whether it has an account.
    // Postgres stores no NUL, so no user has it in a name
    const user = name.includes('\0') ? null : ((await findUserByLogin(db, name)) ?? null)
    const known = await devices.recognise(user ?? NOBODY, presented, context.ip)
    if (known) slot.moveTo('known')
    const device = { token: input.device_token, device: presented }
    const answer = await limits.login(context.client, user ?? { unknown: name }, known, () =>
      enter(user, input.password, { isKnown: known !== null, slot }, { device, wish: wishOf(input) }, context),
    )
    // refused outside of the limits: the password was right, so this is no failed attempt
    if (answer === 'changed') throw await refusal(user, 'the account changed while the password was checked', context)
    return answer
  }

  /** @returns `changed` when the password was right, and the account has changed while it was checked */
  async function enter(
    user: User | null,
    password: string,
    { isKnown, slot }: { isKnown: boolean; slot: QueueSlot },
    entry: { device: { token: string | undefined; device: Device | null }; wish: CookieWish | null },
    context: RequestContext,
  ) {
    // the same hash is computed for a user who does not exist
    const matches = await passwords.verify(user?.password_hash ?? null, password, slot)
    if (!user || !matches || user.disabled_at) {
      throw await refusal(user, !user ? 'unknown user' : matches ? 'disabled user' : 'wrong password', context)
    }
    const rehashed = passwords.needsRehash(user.password_hash) ? await passwords.hash(password, slot) : null

    const entered = await accounts.transaction('login', context, async (tx) => {
      const { trx } = tx
      const locked = await lockUser(trx, user.id)
      // the password was checked without a lock: the account must not have changed since
      const isSame =
        locked && locked.password_hash === user.password_hash && locked.session_epoch === user.session_epoch && !locked.disabled_at
      if (!isSame) return 'changed'
      if (rehashed) await replaceHash(trx, user.id, user.password_hash, rehashed)
      if (locked.must_confirm_login) return 'unconfirmed'
      if (!locked.mfa_enabled) return loginCompletion.enter(tx, locked, { amr: [...BY_PASSWORD], ...entry }, context)
      await tx.record({ outcome: 'mfa_required', userId: user.id })
      return null
    })
    if (entered === 'changed') return entered
    if (entered === 'unconfirmed') throw await loginConfirmation.request(user, isKnown ? 'owner' : 'stranger', context)
    if (entered && 'held' in entered) throw await loginCompletion.refusal(entered, isKnown ? 'owner' : 'stranger', context)
    if (entered) return loginCompletion.answer(entered)
    const mfa_token = await mfaTokens.issue({ userId: user.id, sessionEpoch: user.session_epoch, amr: BY_PASSWORD })
    return { mfa_required: true as const, mfa_token, methods: await factor.methodsOf(db, user.id) }
  }

  /** @param cause for the log and the audit log only: the client gets the same answer for every cause */
  async function refusal(user: User | null, cause: string, context: AuditContext) {
    const outcome = 'invalid_credentials'
    await accounts.record('login', { outcome, userId: user?.id ?? null, detail: cause }, context)
    return problem(outcome, { cause })
  }

  const outcomeOf = (answer: Awaited<ReturnType<typeof login>>) => ('mfa_required' in answer ? 'mfa_required' : 'success')
  return accounts.counted('login', login, outcomeOf)
}
