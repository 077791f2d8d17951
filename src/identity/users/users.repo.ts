import type { ExpressionBuilder, Selectable } from 'kysely'
import { sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { Database, UserTable } from '../../platform/db/tables.ts'
import { isId } from '../../platform/lib/ids.ts'
import { canonicalEmail } from './canonical-login.ts'

export type User = Selectable<UserTable>

/** The `password_hash` of a user without a password, as in shadow(5): no password matches until the user sets one. */
export const NO_PASSWORD = '!'

export const hasPassword = ({ password_hash }: Pick<User, 'password_hash'>): boolean => password_hash !== NO_PASSWORD

/** @param login canonical: an e-mail address when it holds an `@`, else a username */
export const findUserByLogin = (db: Db | Transaction, login: string): Promise<User | undefined> =>
  db
    .selectFrom('users')
    .selectAll()
    .where(login.includes('@') ? 'email_canonical' : 'username', '=', login)
    .executeTakeFirst()

/** Serialises changes of admins, over all processes, until the transaction ends. */
export const lockAdmins = (trx: Transaction) => sql`SELECT pg_advisory_xact_lock(7610002)`.execute(trx)

const holdsOneOf = (roles: readonly string[]) => sql<boolean>`roles && ${[...roles]}::text[]`

/** Finds a user with one of these roles, disabled or not. */
export const findAdmin = (db: Db | Transaction, roles: readonly string[]): Promise<{ id: string } | undefined> =>
  db.selectFrom('users').select('id').where(holdsOneOf(roles)).limit(1).executeTakeFirst()

/** Finds another enabled user with one of these roles. */
export const findOtherAdmin = (trx: Transaction, roles: readonly string[], than: string): Promise<{ id: string } | undefined> =>
  trx
    .selectFrom('users')
    .select('id')
    .where(holdsOneOf(roles))
    .where('disabled_at', 'is', null)
    .where('id', '!=', than)
    .limit(1)
    .executeTakeFirst()

export const findUserById = (db: Db | Transaction, id: string): Promise<User | undefined> =>
  db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst()

/** For lists that name users by their ids. Deleted users are missing. */
export const findUserNames = (db: Db, ids: readonly string[]): Promise<Pick<User, 'id' | 'username' | 'email'>[]> =>
  ids.length === 0 ? Promise.resolve([]) : db.selectFrom('users').select(['id', 'username', 'email']).where('id', 'in', ids).execute()

/** The first lock of every transaction that touches sessions. Readers of the account share it. */
export const lockUserForShare = (trx: Transaction, id: string): Promise<User | undefined> =>
  trx.selectFrom('users').selectAll().where('id', '=', id).forShare().executeTakeFirst()

/** The same lock for writers and logins, exclusive. */
export const lockUser = (trx: Transaction, id: string): Promise<User | undefined> =>
  trx.selectFrom('users').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst()

export type NewUser = Pick<
  User,
  'id' | 'username' | 'email' | 'email_canonical' | 'is_email_vouched' | 'password_hash' | 'roles' | 'password_must_change'
> & { language?: string | null }

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
    | 'is_email_vouched'
    | 'password_hash'
    | 'password_must_change'
    | 'roles'
    | 'disabled_at'
    | 'last_login_at'
    | 'mfa_enabled'
    | 'must_confirm_login'
    | 'metadata'
    | 'language'
  >
>

export const updateUser = (trx: Transaction, id: string, change: UserChange): Promise<User> =>
  trx.updateTable('users').set(change).where('id', '=', id).returningAll().executeTakeFirstOrThrow()

/** Outdates every token that was issued before. @returns the new epoch */
export async function raiseTokenEpoch(trx: Transaction, id: string): Promise<number> {
  const row = await trx
    .updateTable('users')
    .set({ token_epoch: sql`token_epoch + 1` })
    .where('id', '=', id)
    .returning('token_epoch')
    .executeTakeFirstOrThrow()
  return row.token_epoch
}

/** Logins that began before this must not open a session. */
export const raiseSessionEpoch = (trx: Transaction, id: string) =>
  trx.updateTable('users').set({ session_epoch: sql`session_epoch + 1` }).where('id', '=', id).execute()

/** Resets the failed attempts of the account, since the counters use this number in their keys. */
export const raiseUnlocks = (trx: Transaction, id: string) =>
  trx.updateTable('users').set({ unlocks: sql`unlocks + 1` }).where('id', '=', id).execute()

/** @returns the new token epoch */
export async function raiseBothEpochs(trx: Transaction, id: string): Promise<number> {
  await raiseSessionEpoch(trx, id)
  return raiseTokenEpoch(trx, id)
}

/** Stores a hash with newer parameters, unless the password was changed meanwhile. */
export const replaceHash = (trx: Transaction, id: string, old: string, fresh: string) =>
  trx.updateTable('users').set({ password_hash: fresh }).where('id', '=', id).where('password_hash', '=', old).execute()

export interface UserFilter {
  /** A part of the username or of the e-mail address, in any case; or an id. */
  search?: string | undefined
  /** Users who were granted this role itself. Inherited roles do not count. */
  role?: string | undefined
  isDisabled?: boolean | undefined
  isVerified?: boolean | undefined
  hasFactor?: boolean | undefined
}

export const USER_ORDERS = ['newest', 'oldest', 'email'] as const
export type UserOrder = (typeof USER_ORDERS)[number]

/** The columns are unique, so that a page continues behind the last user of the page before. Our own ids ascend with the time of creation. */
const ORDERS = {
  newest: { column: 'id', direction: 'desc', behind: '<' },
  oldest: { column: 'id', direction: 'asc', behind: '>' },
  email: { column: 'email_canonical', direction: 'asc', behind: '>' },
} as const

/** The value by which a page of this order continues behind the user. */
export const cursorOf = (user: User, order: UserOrder): string => user[ORDERS[order].column]

/** Users that are read in their order before an index is asked: a filter that matches many users is answered by a few of them. */
const WALK = 2000

/** @param cursor of the last user of the previous page, see `cursorOf` */
export async function findUserPage(db: Db, filter: UserFilter, limit: number, order: UserOrder, cursor?: string): Promise<User[]> {
  const { column, direction, behind } = ORDERS[order]
  const next = db
    .selectFrom('users')
    .selectAll()
    .$if(cursor !== undefined, (q) => q.where(column, behind, cursor!))
    .orderBy(column, direction)
  const { search } = filter
  if (search === undefined) return next.where(matches(filter)).limit(limit).execute()
  // the planner cannot estimate a search well, and would read the rows of half of all users for a common part
  const walked = await db
    .selectFrom(next.limit(WALK).as('users'))
    .selectAll()
    .where(matches(filter))
    .orderBy(column, direction)
    .limit(limit)
    .execute()
  if (walked.length === limit) return walked
  return next
    .where((e) => e.and([matches(filter)(e), e.or([...formsOf(search).map(holdsParts), ...isIdOf(e, search)])]))
    .limit(limit)
    .execute()
}

type Users = ExpressionBuilder<Database, 'users'>

const matches =
  ({ search, role, isDisabled, isVerified, hasFactor }: UserFilter) =>
  (e: Users) =>
    e.and([
      ...(role === undefined ? [] : [holdsOneOf([role])]),
      ...(isDisabled === undefined ? [] : [e('disabled_at', isDisabled ? 'is not' : 'is', null)]),
      ...(isVerified === undefined ? [] : [e('email_verified_at', isVerified ? 'is not' : 'is', null)]),
      ...(hasFactor === undefined ? [] : [e('mfa_enabled', '=', hasFactor)]),
      ...(search === undefined ? [] : [e.or([...formsOf(search).flatMap((form) => containsPart(e, form)), ...isIdOf(e, search)])]),
    ])

const isIdOf = (e: Users, search: string) => (isId(search.toLowerCase()) ? [e('id', '=', search.toLowerCase())] : [])

const escapedLike = (text: string) => text.replace(/[\\%_]/g, '\\$&')

/** The search as a part of an address in its canonical form, and as a part of the address that is shown: a domain may be written otherwise. */
const formsOf = (search: string): string[] => [...new Set([canonicalEmail(search), search.normalize('NFC').toLowerCase()])]

const containsPart = (e: Users, text: string) => {
  const pattern = `%${escapedLike(text)}%`
  return [e('username', 'like', pattern), e('email_canonical', 'like', pattern), sql<boolean>`lower(email) LIKE ${pattern}`]
}

/** The index holds parts of up to three characters. The longest parts of the text are the rarest. */
const holdsParts = (text: string) => {
  const characters = [...text]
  const length = Math.min(3, characters.length)
  const parts = Array.from({ length: characters.length - length + 1 }, (_, i) => characters.slice(i, i + length).join(''))
  return sql<boolean>`user_search_parts(username, email_canonical, email) @> ${[...new Set(parts)]}::text[]`
}

export type ImportedUser = NewUser & Pick<User, 'email_verified_at' | 'disabled_at' | 'created_at' | 'metadata'>

/** @returns false when the id, the username or the e-mail address is taken */
export async function insertImported(trx: Transaction, user: ImportedUser & Pick<User, 'mfa_enabled'>): Promise<boolean> {
  const row = await trx
    .insertInto('users')
    .values({ ...user, last_login_at: null })
    .onConflict((c) => c.doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export const deleteImported = (trx: Transaction, { id }: Pick<User, 'id'>) => trx.deleteFrom('users').where('id', '=', id).execute()

/** Finds the users who already have this id, username or e-mail address. */
export const findTaken = (
  db: Db | Transaction,
  { id, username, email_canonical }: Pick<User, 'id' | 'username' | 'email_canonical'>,
): Promise<Pick<User, 'id' | 'username' | 'email_canonical'>[]> =>
  db
    .selectFrom('users')
    .select(['id', 'username', 'email_canonical'])
    .where((e) =>
      e.or([e('email_canonical', '=', email_canonical), ...(username === null ? [] : [e('username', '=', username)]), e('id', '=', id)]),
    )
    .execute()
