import type { Selectable } from 'kysely'
import { sql } from 'kysely'
import type { Db, Transaction, UserTable } from '../db/database.ts'

export type User = Selectable<UserTable>

/** @param login canonical: an e-mail address when it holds an `@`, else a username */
export const findUserByLogin = (db: Db | Transaction, login: string): Promise<User | undefined> =>
  db
    .selectFrom('users')
    .selectAll()
    .where(login.includes('@') ? 'email_canonical' : 'username', '=', login)
    .executeTakeFirst()

/** Somebody who may administer, disabled or not. */
export const findAdmin = (db: Db | Transaction): Promise<{ id: string } | undefined> =>
  db.selectFrom('users').select('id').where(sql<boolean>`'admin' = ANY(roles)`).limit(1).executeTakeFirst()

export const findUserById = (db: Db | Transaction, id: string): Promise<User | undefined> =>
  db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst()

/** First lock of every transaction that touches sessions: readers of the account share it … */
export const lockUserForShare = (trx: Transaction, id: string): Promise<User | undefined> =>
  trx.selectFrom('users').selectAll().where('id', '=', id).forShare().executeTakeFirst()

/** … writers and logins have it alone. */
export const lockUser = (trx: Transaction, id: string): Promise<User | undefined> =>
  trx.selectFrom('users').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst()

export type NewUser = Pick<User, 'id' | 'username' | 'email' | 'email_canonical' | 'password_hash' | 'roles' | 'password_must_change'>

export const insertUser = (trx: Transaction, user: NewUser): Promise<User> =>
  trx
    .insertInto('users')
    .values({ ...user, email_verified_at: null, disabled_at: null, last_login_at: null })
    .returningAll()
    .executeTakeFirstOrThrow()

export type UserChange = Partial<
  Pick<
    User,
    | 'username'
    | 'email'
    | 'email_canonical'
    | 'email_verified_at'
    | 'password_hash'
    | 'password_must_change'
    | 'roles'
    | 'disabled_at'
    | 'last_login_at'
  >
>

export const updateUser = (trx: Transaction, id: string, change: UserChange): Promise<User> =>
  trx.updateTable('users').set(change).where('id', '=', id).returningAll().executeTakeFirstOrThrow()

/** Tokens issued before this are older than the account. @returns the new epoch */
export async function raiseTokenEpoch(trx: Transaction, id: string): Promise<number> {
  const row = await trx
    .updateTable('users')
    .set({ token_epoch: sql`token_epoch + 1` })
    .where('id', '=', id)
    .returning('token_epoch')
    .executeTakeFirstOrThrow()
  return row.token_epoch
}

/** Logins that began before this must not open a session. @returns the new token epoch */
export async function raiseBothEpochs(trx: Transaction, id: string): Promise<number> {
  await trx.updateTable('users').set({ session_epoch: sql`session_epoch + 1` }).where('id', '=', id).execute()
  return raiseTokenEpoch(trx, id)
}

/** A hash with newer parameters, unless the password was changed meanwhile. */
export const replaceHash = (trx: Transaction, id: string, old: string, fresh: string) =>
  trx.updateTable('users').set({ password_hash: fresh }).where('id', '=', id).where('password_hash', '=', old).execute()

export const listUsers = (db: Db, limit: number): Promise<User[]> =>
  db.selectFrom('users').selectAll().orderBy('created_at').limit(limit).execute()
