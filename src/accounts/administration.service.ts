/** What an operator does to accounts. Old access tokens never survive it. */
import { uuidv7 } from 'uuidv7'
import { insertAudit, type RequestOrigin } from '../audit/audit.repo.ts'
import type { Config } from '../config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { SessionEnding } from '../sessions/ending.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { canonicalLogin } from './canonical-login.ts'
import { field } from './password-policy.ts'
import type { Passwords } from './passwords.ts'
import { asTaken, readAccount, refuseTaken } from './register.service.ts'
import { findUserByLogin, insertUser, lockUser, type User, updateUser } from './users.repo.ts'

export interface AdministrationDeps {
  db: Db
  config: Config
  passwords: Passwords
  ending: SessionEnding
  revocations: Revocations
}

export interface Actor {
  actor: string
  origin: RequestOrigin
}

const ROLE = /^[a-z][a-z0-9_.:-]{0,62}$/

export function createAdministration({ db, config, passwords, ending, revocations }: AdministrationDeps) {
  async function create(
    input: { username: string; email: string; password: string; roles: string[]; mustChangePassword: boolean },
    by: Actor,
  ): Promise<User> {
    const account = readAccount(input, config.auth.password)
    input.roles.forEach(demandRole)
    await refuseTaken(db, account)
    const password_hash = await passwords.hash(input.password)
    return inTransaction(db, async (trx) => {
      const user = await insertUser(trx, {
        id: uuidv7(),
        ...account,
        password_hash,
        roles: input.roles,
        password_must_change: input.mustChangePassword,
      })
      await insertAudit(trx, { event: 'user_create', outcome: 'success', userId: user.id, ...by })
      return user
    }).catch((error) => {
      throw asTaken(error)
    })
  }

  /** Changes a locked user in one transaction with its audit row; tells every gateway afterwards. */
  async function change(
    login: string,
    event: string,
    by: Actor,
    work: (trx: Transaction, user: User) => Promise<Revocation | null>,
  ): Promise<User> {
    const found = await findUserByLogin(db, canonicalLogin(login))
    if (!found) throw problem('validation_failed', { errors: field('login', `no user ${login}`) })
    const { user, revocation } = await inTransaction(db, async (trx) => {
      const locked = (await lockUser(trx, found.id))!
      const told = await work(trx, locked)
      await insertAudit(trx, { event, outcome: 'success', userId: found.id, ...by })
      return { user: (await lockUser(trx, found.id))!, revocation: told }
    })
    if (revocation) await revocations.announce(revocation)
    return user
  }

  const setRoles = async (trx: Transaction, user: User, roles: string[]) => {
    await updateUser(trx, user.id, { roles })
    return ending.outdateTokens(trx, user.id)
  }

  return {
    create,
    grant(login: string, role: string, by: Actor) {
      demandRole(role)
      return change(login, 'role_grant', by, (trx, user) => setRoles(trx, user, [...new Set([...user.roles, role])].sort()))
    },
    revoke: (login: string, role: string, by: Actor) =>
      change(login, 'role_revoke', by, (trx, user) =>
        setRoles(
          trx,
          user,
          user.roles.filter((r) => r !== role),
        ),
      ),
    disable: (login: string, by: Actor) =>
      change(login, 'user_disable', by, async (trx, user) => {
        await updateUser(trx, user.id, { disabled_at: await databaseNow(trx) })
        return ending.endAllSessions(trx, user.id, 'disabled')
      }),
    enable: (login: string, by: Actor) =>
      change(login, 'user_enable', by, async (trx, user) => {
        await updateUser(trx, user.id, { disabled_at: null })
        return null
      }),
  }
}

function demandRole(role: string): void {
  if (!ROLE.test(role)) throw problem('validation_failed', { errors: field('role', `${role} is not a role name: a-z, digits, _ . : -`) })
}
