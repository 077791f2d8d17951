/**
 * What administrators do to accounts, by request or by command: one transaction for each act, with its audit row; what it revokes is told to
 * every gateway before the answer.
 */

import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Audit } from '../../platform/audit/audit.ts'
import { type Config, ROLE_NAME } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { type EraseAccount, namelessContext } from '../accounts/account-erasure.ts'
import { asTaken, readAccount, refuseTaken } from '../accounts/register.service.ts'
import { type ApiKey, findApiKeysOf, revokeApiKey } from '../api-keys/api-keys.repo.ts'
import { assertStillValid } from '../credentials/password-check.ts'
import { field, type PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import { deleteFactors } from '../factors/factors.repo.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
import { findUsableSessions, lockSession, type Session } from '../sessions/sessions.repo.ts'
import type { Keyring, KeyStatus } from '../tokens/keyring.ts'
import { canonicalLogin } from '../users/canonical-login.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import { knownRoles } from '../users/roles.ts'
import {
  findUserById,
  findUserByLogin,
  findUserPage,
  insertUser,
  lockUser,
  lockUserForShare,
  raiseUnlocks,
  type User,
  type UserFilter,
  updateUser,
} from '../users/users.repo.ts'
import { type Actor, createAuditedActions, type Entry } from './audited-action.ts'

export interface AdministrationDeps {
  db: Db
  audit: Audit
  config: Config
  passwords: Passwords
  policy: PasswordPolicy
  keyring: Keyring
  outbox: Outbox
  sessionRevoker: SessionRevoker
  revocations: Revocations
  keepAdmin: KeepAdmin
  eraseAccount: EraseAccount
  metrics: Metrics
}

export interface Administration extends ReturnType<typeof createAdministration> {}

export interface NewAccount {
  username: string
  email: string
  /** None: one is made up. */
  password?: string | undefined
  roles: string[]
  mustChangePassword: boolean
}

export interface UserPage {
  users: User[]
  /** Where the next page goes on; null: this was the last. */
  nextCursor: string | null
}

const MAX_LISTED = 1000
const ROLE = new RegExp(ROLE_NAME)

export function createAdministration({
  db,
  audit,
  config,
  passwords,
  policy,
  keyring,
  outbox,
  sessionRevoker,
  revocations,
  keepAdmin,
  eraseAccount,
  metrics,
}: AdministrationDeps) {
  const known = knownRoles(config.auth.roles)
  const { act, write } = createAuditedActions({ db, audit, metrics })

  /** @param who an id, an e-mail address or a username: no two of them look alike. @throws not_found */
  async function find(who: string): Promise<User> {
    const user = isId(who) ? await findUserById(db, who) : await findUserByLogin(db, canonicalLogin(who))
    if (!user) throw problem('not_found', { detail: `There is no user ${who}.` })
    return user
  }

  /** Locks the account; and who auditedActions, to whom that must still be allowed. In the order of ids: two admins may be at each other. */
  async function lock(trx: Transaction, { principal }: Actor, id?: string): Promise<User | undefined> {
    const ids = [id, principal?.id].filter((one) => one !== undefined)
    const locked = new Map<string, User | undefined>()
    for (const one of [...new Set(ids)].sort()) locked.set(one, await (one === id ? lockUser : lockUserForShare)(trx, one))
    if (principal) assertStillValid(principal, locked.get(principal.id), await lockSession(trx, principal.sessionId))
    return id === undefined ? undefined : locked.get(id)
  }

  /** One change of one account. @returns the user as it is now; undefined when it is no more */
  async function change(
    who: string,
    { event, detail, sessionId }: Omit<Entry, 'userId'>,
    by: Actor,
    work: (trx: Transaction, user: User) => Promise<Revocation | null>,
  ): Promise<User | undefined> {
    const { id } = await find(who)
    const entry: Entry = { event, userId: id, detail: detail ?? null, sessionId: sessionId ?? null }
    return act(entry, by, async () => {
      const { user, revocation } = await inTransaction(db, async (trx) => {
        const locked = await lock(trx, by, id)
        if (!locked) throw problem('not_found', { cause: 'deleted meanwhile' })
        const told = await work(trx, locked)
        await write(trx, entry, 'success', by)
        return { user: await findUserById(trx, id), revocation: told }
      })
      if (revocation) await revocations.announce(revocation)
      return user
    })
  }

  const changed = async (...args: Parameters<typeof change>): Promise<User> => (await change(...args))!

  async function setRoles(trx: Transaction, user: User, roles: string[]): Promise<Revocation | null> {
    if (roles.length === user.roles.length) return null // nothing was added or taken away
    await keepAdmin(trx, user, { ...user, roles })
    await updateUser(trx, user.id, { roles: [...roles].sort() })
    return sessionRevoker.outdateTokens(trx, user.id)
  }

  function assertKnown(role: string): void {
    if (!known.includes(role)) throw problem('validation_failed', { errors: field('role', `no such role; known: ${known.join(', ')}`) })
  }

  return {
    find,

    async list(filter: UserFilter, limit: number, cursor?: string): Promise<UserPage> {
      const users = await findUserPage(db, filter, limit + 1, cursor)
      const page = users.slice(0, limit)
      return { users: page, nextCursor: users.length > limit ? page.at(-1)!.id : null }
    },

    /** @returns the password, too, when it was made up here */
    async create(input: NewAccount, by: Actor): Promise<{ user: User; password: string | null }> {
      const password = input.password ?? randomBytes(18).toString('base64url')
      input.roles.forEach(assertKnown)
      const account = await readAccount({ ...input, password }, policy)
      const roles = [...new Set(input.roles)].sort()
      const entry = { event: 'user_create', detail: roles.join(' ') }
      const user = await act(entry, by, async () => {
        await refuseTaken(db, account)
        const password_hash = await passwords.hash(password)
        return inTransaction(db, async (trx) => {
          await lock(trx, by)
          const made = await insertUser(trx, {
            id: uuidv7(),
            ...account,
            password_hash,
            roles,
            password_must_change: input.mustChangePassword,
          })
          await write(trx, { ...entry, userId: made.id }, 'success', by)
          return made
        }).catch((error) => {
          throw asTaken(error)
        })
      })
      return { user, password: input.password === undefined ? password : null }
    },

    async grant(who: string, role: string, by: Actor) {
      assertKnown(role)
      return changed(who, { event: 'role_grant', detail: role }, by, (trx, user) =>
        setRoles(trx, user, [...new Set([...user.roles, role])]),
      )
    },

    /** Also one that the configuration does not know any more. */
    async revoke(who: string, role: string, by: Actor) {
      if (!ROLE.test(role)) throw problem('validation_failed', { errors: field('role', 'is not the name of a role: a-z, digits, _ . : -') })
      return changed(who, { event: 'role_revoke', detail: role }, by, (trx, user) =>
        setRoles(
          trx,
          user,
          user.roles.filter((r) => r !== role),
        ),
      )
    },

    disable: (who: string, by: Actor) =>
      changed(who, { event: 'user_disable' }, by, async (trx, user) => {
        const disabled_at = user.disabled_at ?? (await databaseNow(trx))
        await keepAdmin(trx, user, { ...user, disabled_at })
        await updateUser(trx, user.id, { disabled_at })
        return sessionRevoker.endAllSessions(trx, user.id, 'disabled')
      }),

    enable: (who: string, by: Actor) =>
      changed(who, { event: 'user_enable' }, by, async (trx, user) => {
        await updateUser(trx, user.id, { disabled_at: null })
        return null
      }),

    unlock: (who: string, by: Actor) =>
      changed(who, { event: 'user_unlock' }, by, async (trx, user) => {
        await raiseUnlocks(trx, user.id)
        return null
      }),

    forcePasswordChange: (who: string, by: Actor) =>
      changed(who, { event: 'password_change_force' }, by, async (trx, user) => {
        await updateUser(trx, user.id, { password_must_change: true })
        return sessionRevoker.endAllSessions(trx, user.id, 'password_change_forced')
      }),

    resetFactor: (who: string, by: Actor) =>
      changed(who, { event: 'factor_reset' }, by, async (trx, user) => {
        const hadFactor = await deleteFactors(trx, user.id)
        await updateUser(trx, user.id, { mfa_enabled: false })
        // where the administrator was is not for the user to know
        const data = { at: (await databaseNow(trx)).toISOString(), ip: null, device: null }
        if (hadFactor) await outbox.post(trx, { template: 'factor_disabled', data, to: user.email, userId: user.id })
        return sessionRevoker.endAllSessions(trx, user.id, 'factor_reset')
      }),

    endSessions: (who: string, by: Actor) =>
      changed(who, { event: 'sessions_end' }, by, (trx, user) => sessionRevoker.endAllSessions(trx, user.id, 'ended_by_admin')),

    async remove(who: string, by: Actor): Promise<void> {
      await change(who, { event: 'user_delete' }, { ...by, context: namelessContext(by.context) }, eraseAccount)
    },

    /** Those that live, the one that was used last first. */
    async sessionsOf(who: string): Promise<Session[]> {
      const { id } = await find(who)
      return findUsableSessions(db, id, await databaseNow(db))
    },

    async endSession(who: string, sessionId: string, by: Actor): Promise<void> {
      await change(who, { event: 'session_end', sessionId }, by, async (trx, user) => {
        const session = await lockSession(trx, sessionId)
        if (session?.user_id !== user.id || session.revoked_at) throw problem('not_found')
        return sessionRevoker.endSession(trx, user.id, sessionId, 'ended_by_admin')
      })
    },

    async apiKeysOf(who: string): Promise<ApiKey[]> {
      const { id } = await find(who)
      return findApiKeysOf(db, id, MAX_LISTED)
    },

    async revokeApiKey(who: string, keyId: string, by: Actor): Promise<void> {
      await change(who, { event: 'api_key_revoke', detail: keyId }, by, async (trx, user) => {
        if (!(await revokeApiKey(trx, user.id, keyId, await databaseNow(trx)))) throw problem('not_found')
        return sessionRevoker.recordEnd(trx, user.id, keyId)
      })
    },

    keys: (): Promise<KeyStatus[]> => keyring.list(),

    rotateKey(options: { now: boolean }, by: Actor): Promise<KeyStatus> {
      const event = 'key_rotate'
      return act({ event }, by, () =>
        keyring.rotate({
          ...options,
          async alongside(trx, kid) {
            await lock(trx, by)
            await write(trx, { event, detail: kid }, 'success', by)
          },
        }),
      )
    },
  }
}
