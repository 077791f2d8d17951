/** Users add, name and remove their passkeys. A passkey is a way to log in, and a second factor of every other way. */
import type { RegistrationResponseJSON } from '@simplewebauthn/server'
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { brokenConstraint, type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { deviceName } from '../../platform/request/device-name.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { cookieOf } from '../sessions/lock-caller.ts'
import type { Given, SessionOpener } from '../sessions/open-session.ts'
import { shrinkCookieAmr } from '../sessions/session-cookies.repo.ts'
import { lockSession, updateAmr } from '../sessions/sessions.repo.ts'
import { withFactor, withoutFactors } from '../tokens/amr.ts'
import { findUserById, type User, updateUser } from '../users/users.repo.ts'
import { deleteBackupCodes, deleteTotp, findConfirmedFactor } from './factors.repo.ts'
import {
  amrOfPasskey,
  type Ceremonies,
  type Created,
  newPasskeyHandle,
  type PasskeyAnswer,
  passkeyRefused,
  type RelyingParty,
} from './passkey-ceremonies.ts'
import {
  deletePasskey,
  findPasskeyByCredential,
  findPasskeysOf,
  insertPasskey,
  MAX_PASSKEYS,
  type Passkey,
  passkeyHandleOf,
  updatePasskey,
} from './passkeys.repo.ts'
import type { SecondFactor } from './second-factor.ts'
import type { Proof, StepUp } from './step-up.ts'

/** For the user. */
export interface PasskeyView {
  id: string
  name: string
  created_at: string
  last_used_at: string | null
  /** The device keeps a copy elsewhere. */
  backed_up: boolean
  /** Base64url. */
  credential_id: string
}

/** What a browser needs to forget passkeys that were removed (WebAuthn L3 §5.1.10). */
export interface PasskeyList {
  passkeys: PasskeyView[]
  rp_id: string
  /** Base64url. Null before the first passkey. */
  user_handle: string | null
}

export type AddedPasskey = { passkey: PasskeyView; backup_codes?: string[] } & Partial<Given>

export interface PasskeysDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  outbox: Outbox
  stepUp: StepUp
  factor: SecondFactor
  sessionOpener: SessionOpener
  relyingParty: RelyingParty
  ceremonies: Ceremonies
  /** @throws last_credential */
  assertOtherWayIn(trx: Transaction, user: User, without: string): Promise<void>
}

const DEFAULT_NAME = 'Passkey'

export function createPasskeys(deps: PasskeysDeps) {
  const { db, accounts, limits, outbox, stepUp, factor, sessionOpener, relyingParty, ceremonies, assertOtherWayIn } = deps

  async function begin(principal: Principal, proof: Proof, context: RequestContext) {
    const change = await stepUp(principal, proof, context)
    const { user, handle, known } = await change.commit('passkey_begin', async ({ trx, record }, { user }) => {
      const known = await findPasskeysOf(trx, user.id)
      if (known.length >= MAX_PASSKEYS) throw problem('limit_reached', { cause: `the user has ${MAX_PASSKEYS} passkeys` })
      await record({ userId: user.id, sessionId: principal.sessionId })
      return { user, known, handle: await passkeyHandleOf(trx, user.id, newPasskeyHandle()) }
    })
    return ceremonies.creation(purposeOf(principal, user), { handle, name: user.username ?? user.email }, known)
  }

  /**
   * Finishes what `begin` began under the step-up rule. The first factor of an account counts as used in its own session: every other session
   * ends, and the user gets backup codes.
   */
  const finish = (
    principal: Principal,
    { name, ...answer }: PasskeyAnswer<RegistrationResponseJSON> & { name?: string | undefined },
    context: RequestContext,
  ): Promise<AddedPasskey> =>
    limits.passkey(context.client, async () => {
      const before = await findUserById(db, principal.id)
      if (!before) throw problem('token_revoked', { cause: 'the user was deleted' })
      const created = await ceremonies.finishCreation(purposeOf(principal, before), answer)
      const added = accounts.transaction('passkey_add', context, async (tx) => {
        const { trx, record } = tx
        const user = await tx.lockCaller(principal)
        if (user.mfa_enabled !== before.mfa_enabled) throw passkeyRefused('a factor was added or removed meanwhile')
        const now = await databaseNow(trx)
        await ceremonies.useUp(trx, created)
        const passkey = await insert(trx, user, created, name === undefined ? nameFrom(context) : readName(name), now)
        const first = user.mfa_enabled ? {} : await becomeFactor(tx, principal, user, passkey)
        const data = noticeContextOf(now, context)
        await outbox.post(trx, { template: 'passkey_added', data, to: user.email, userId: user.id })
        await record({ userId: user.id, sessionId: principal.sessionId, detail: passkey.id })
        return { passkey: viewOfPasskey(passkey), ...first }
      })
      return added.catch((error) => {
        throw brokenConstraint(error) === 'passkeys_credential_id_key' ? problem('passkey_exists') : error
      })
    })

  async function insert(trx: Transaction, user: User, created: Created, name: string, now: Date): Promise<Passkey> {
    if (await findPasskeyByCredential(trx, created.credentialId)) throw problem('passkey_exists')
    if ((await findPasskeysOf(trx, user.id)).length >= MAX_PASSKEYS) throw problem('limit_reached')
    const passkey: Passkey = {
      id: uuidv7(),
      user_id: user.id,
      credential_id: created.credentialId,
      public_key: created.publicKey,
      rp_id: relyingParty.id,
      sign_count: String(created.signCount),
      transports: created.transports,
      is_backup_eligible: created.isBackupEligible,
      is_backed_up: created.isBackedUp,
      name,
      created_at: now,
      last_used_at: null,
    }
    await insertPasskey(trx, passkey)
    return passkey
  }

  async function becomeFactor(tx: AccountTransaction, principal: Principal, user: User, passkey: Passkey) {
    const { trx, revoke } = tx
    const { sessionId } = principal
    await updateUser(trx, user.id, { mfa_enabled: true })
    // an app that waits for its first code was begun without a factor
    await deleteTotp(trx, user.id)
    const shown = amrOfPasskey(passkey)
    await updateAmr(trx, sessionId, withFactor((await lockSession(trx, sessionId))!.amr, shown))
    await revoke.otherSessions(user.id, sessionId, 'factor_enabled')
    const held = await cookieOf(trx, principal)
    // an access token shows the factor after its refresh; a worker must read the user of a cookie again
    if (held) await revoke.outdateTokens(user.id)
    const raised = held && (await sessionOpener.raise(tx, user, held.session, { ...held.cookie, amr: withFactor(held.cookie.amr, shown) }))
    return { backup_codes: await factor.renewBackupCodes(trx, user.id), ...(raised?.given ?? {}) }
  }

  async function list({ id }: Principal): Promise<PasskeyList> {
    const [user, passkeys] = await Promise.all([findUserById(db, id), findPasskeysOf(db, id)])
    return {
      passkeys: passkeys.map(viewOfPasskey),
      rp_id: relyingParty.id,
      user_handle: user?.passkey_handle?.toString('base64url') ?? null,
    }
  }

  /** @throws not_found, validation_failed */
  async function rename(principal: Principal, id: string, name: string, context: AuditContext): Promise<PasskeyView> {
    return accounts.transaction('passkey_rename', context, async (tx) => {
      const user = await tx.lockCaller(principal)
      const passkey = await ownPasskey(tx.trx, user.id, id)
      await updatePasskey(tx.trx, id, { name: readName(name) })
      await tx.record({ userId: user.id, detail: id })
      return viewOfPasskey({ ...passkey, name })
    })
  }

  /** Every other session ends, and access tokens that were issued are refused. @throws not_found, last_credential */
  async function remove(principal: Principal, id: string, proof: Proof, context: RequestContext): Promise<void> {
    const change = await stepUp(principal, proof, context)
    await change.commit('passkey_remove', async ({ trx, record, revoke }, { user, now }) => {
      await ownPasskey(trx, user.id, id)
      await assertOtherWayIn(trx, user, id)
      await deletePasskey(trx, id)
      await shrinkFactors(trx, user, principal.sessionId)
      await revoke.otherSessions(user.id, principal.sessionId, 'passkey_removed')
      // issued access tokens may say that this passkey was shown
      await revoke.outdateTokens(user.id)
      const data = noticeContextOf(now, context)
      await outbox.post(trx, { template: 'passkey_removed', data, to: user.email, userId: user.id })
      await record({ userId: user.id, sessionId: principal.sessionId, detail: id })
    })
  }

  /** After a removal: the session shows no kind of passkey that the user no longer has. */
  async function shrinkFactors(trx: Transaction, user: User, sessionId: string): Promise<void> {
    const passkeys = (await findPasskeysOf(trx, user.id)).filter(({ rp_id }) => rp_id === relyingParty.id)
    if (passkeys.length === 0 && !(await findConfirmedFactor(trx, user.id))) {
      await deleteBackupCodes(trx, user.id)
      await updateUser(trx, user.id, { mfa_enabled: false })
    }
    const kinds = passkeys.flatMap(amrOfPasskey)
    const shrink = (amr: readonly string[]) =>
      withoutFactors(amr, (value) => (value === 'hwk' || value === 'swk') && !kinds.includes(value))
    await updateAmr(trx, sessionId, shrink((await lockSession(trx, sessionId))!.amr))
    await shrinkCookieAmr(trx, sessionId, shrink)
  }

  async function ownPasskey(trx: Transaction, userId: string, id: string): Promise<Passkey> {
    const passkey = (await findPasskeysOf(trx, userId)).find((one) => one.id === id)
    if (!passkey) throw problem('not_found')
    return passkey
  }

  return {
    begin: accounts.counted('passkey_begin', begin),
    finish: accounts.counted('passkey_add', finish),
    list,
    rename,
    remove: accounts.counted('passkey_remove', remove),
  }
}

export type Passkeys = ReturnType<typeof createPasskeys>

/** The rule that was checked at the beginning must hold at the end: it asks for a factor where the user has one. */
const purposeOf = ({ sessionId }: Principal, { mfa_enabled }: User) =>
  ({ for: 'register', sessionId: `${sessionId}${mfa_enabled ? ' with a factor' : ''}` }) as const

/** @throws validation_failed */
function readName(name: string): string {
  if (/^[^\p{Cc}]{1,64}$/u.test(name)) return name
  throw invalidField('name', 'format', 'must have 1 to 64 characters, and no control characters')
}

const nameFrom = ({ userAgent }: AuditContext): string => deviceName(userAgent ?? null) ?? DEFAULT_NAME

const viewOfPasskey = (passkey: Passkey): PasskeyView => ({
  id: passkey.id,
  name: passkey.name,
  created_at: passkey.created_at.toISOString(),
  last_used_at: passkey.last_used_at?.toISOString() ?? null,
  backed_up: passkey.is_backed_up,
  credential_id: passkey.credential_id.toString('base64url'),
})
