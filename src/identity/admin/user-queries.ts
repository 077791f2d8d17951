/** Operators find users, and list their sessions and API keys. */

import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, type ReadReplica } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { type ApiKey, findApiKeysOf } from '../api-keys/api-keys.repo.ts'
import { idleTtlSeconds } from '../sessions/session-life.ts'
import { findUsableSessions, type Session } from '../sessions/sessions.repo.ts'
import { canonicalLogin } from '../users/canonical-login.ts'
import { cursorOf, findUserById, findUserByLogin, findUserPage, type User, type UserFilter, type UserOrder } from '../users/users.repo.ts'

export interface UserPage {
  users: User[]
  /** The cursor of the next page; null after the last page. */
  nextCursor: string | null
}

/** @param ref an id, an e-mail address or a username: their forms differ. @throws not_found */
export type FindUser = (ref: string) => Promise<User>

const MAX_LISTED = 1000

export const createFindUser =
  (db: Db): FindUser =>
  async (ref) => {
    const user = isId(ref) ? await findUserById(db, ref) : await findUserByLogin(db, canonicalLogin(ref))
    if (!user) throw problem('not_found', { detail: `There is no user ${ref}.` })
    return user
  }

interface UserQueriesDeps {
  db: Db
  read: ReadReplica
  find: FindUser
  config: Config
}

export function createUserQueries({ db, read, find, config }: UserQueriesDeps) {
  return {
    find,

    async list(filter: UserFilter, limit: number, cursor?: string, order: UserOrder = 'newest'): Promise<UserPage> {
      const users = await read((db) => findUserPage(db, filter, limit + 1, order, cursor))
      const page = users.slice(0, limit)
      return { users: page, nextCursor: users.length > limit ? cursorOf(page.at(-1)!, order) : null }
    },

    /** Sessions that can still be used, the most recently used first. */
    async sessionsOf(ref: string): Promise<Session[]> {
      const { id } = await find(ref)
      return findUsableSessions(db, id, await databaseNow(db), idleTtlSeconds(config))
    },

    async apiKeysOf(ref: string): Promise<ApiKey[]> {
      const { id } = await find(ref)
      return findApiKeysOf(db, id, MAX_LISTED)
    },
  }
}
