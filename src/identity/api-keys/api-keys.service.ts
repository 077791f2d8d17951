/**
 * API keys of users. A user with a session creates a key, which is shown once. A key carries no role and no scope that its owner does not
 * have. The owner or any holder of the key can revoke it.
 */
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { BY_KEY } from '../../platform/audit/row.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { isStorable } from '../../platform/lib/timestamps.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { digestOf, hintOf, isApiKey, makeApiKey } from '../../platform/request/api-key-format.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { StepUp } from '../factors/step-up.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import type { Grants } from '../users/roles.ts'
import { lockUser } from '../users/users.repo.ts'
import {
  type ApiKey,
  countApiKeysMadeSince,
  countLivingApiKeys,
  findApiKey,
  findApiKeysOf,
  insertApiKey,
  revokeApiKey,
} from './api-keys.repo.ts'

export interface ApiKeyInput {
  name: string
  /** Without roles and scopes, the key carries all that the owner has. */
  roles?: string[]
  /** Without scopes, the key carries those of its roles. */
  scopes?: string[]
  /** RFC 3339. */
  expires_at?: string
  /** Where the login is not recent. */
  current_password?: string
  code?: string
}

export interface ApiKeyView {
  id: string
  name: string
  hint: string
  roles: string[]
  scopes: string[]
  created_at: string
  expires_at: string | null
  last_used_at: string | null
}

export interface ApiKeysDeps {
  db: Db
  accounts: Accounts
  stepUp: StepUp
  outbox: Outbox
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
}

const MAX_LISTED = 1000
const DAY_MS = 86_400_000
/** Each key is a row and a mail. Without a bound, making and revoking keys would fill the table, and the mailbox of an unproven address. */
const MIN_PER_DAY = 50

export function createApiKeys({ db, accounts, stepUp, outbox, grantsOf, config }: ApiKeysDeps) {
  const { maxPerUser } = config.auth.apiKeys
  const maxPerDay = Math.max(maxPerUser, MIN_PER_DAY)

  async function create(caller: Principal, input: ApiKeyInput, context: RequestContext): Promise<ApiKeyView & { key: string }> {
    const key = makeApiKey()
    const proven = await stepUp(caller, { password: input.current_password, code: input.code }, context)
    const made = await proven.commit('api_key_create', async ({ trx, record }, { user: owner, now }) => {
      const expires_at = input.expires_at === undefined ? null : readExpiry(input.expires_at, now)
      const carried = narrow(input, grantsOf(owner.roles))
      if ((await countLivingApiKeys(trx, owner.id, now)) >= maxPerUser)
        throw problem('limit_reached', { cause: `the user has ${maxPerUser} API keys` })
      if ((await countApiKeysMadeSince(trx, owner.id, new Date(now.getTime() - DAY_MS))) >= maxPerDay)
        throw problem('rate_limited', { cause: `the user made ${maxPerDay} API keys in a day`, headers: { 'retry-after': '3600' } })
      const row = await insertApiKey(trx, {
        id: uuidv7(),
        user_id: owner.id,
        name: input.name,
        hint: hintOf(key),
        digest: digestOf(key),
        ...carried,
        created_at: now,
        expires_at,
        session_id: caller.sessionId,
      })
      const data = { ...noticeContextOf(now, context), name: row.name }
      await outbox.post(trx, { template: 'api_key_created', data, to: owner.email, userId: owner.id })
      await record({ userId: owner.id, sessionId: caller.sessionId, detail: row.id })
      return row
    })
    return { ...viewOfApiKey(made), key }
  }

  function narrow({ roles, scopes }: ApiKeyInput, owned: Grants): Grants {
    const wanted = roles ?? (scopes ? [] : owned.roles)
    const carried = { roles: wanted, scopes: scopes ?? grantsOf(wanted).scopes }
    const beyond = [
      ...grantsOf(carried.roles).roles.filter((role) => !owned.roles.includes(role)),
      ...carried.scopes.filter((scope) => !owned.scopes.includes(scope)),
    ]
    if (beyond.length) throw problem('forbidden', { detail: 'A key cannot have roles or scopes that you do not have. Leave them out.' })
    return carried
  }

  /** Under the lock of the owner. @returns false when the key is another user's, or was revoked before */
  async function end(
    { trx, record, revoke }: AccountTransaction,
    userId: string,
    id: string,
    by: { sessionId?: string; actor?: string },
  ): Promise<boolean> {
    const revoked = await revokeApiKey(trx, userId, id, await databaseNow(trx))
    if (!revoked) return false
    await record({ userId, detail: id, ...by })
    await revoke.credential(userId, id)
    return true
  }

  async function revoke(caller: Principal, id: string, context: AuditContext): Promise<void> {
    const isEnded = await accounts.transaction('api_key_revoke', context, async (tx) => {
      await tx.lockCaller(caller)
      return isId(id) && end(tx, caller.id, id, { sessionId: caller.sessionId })
    })
    if (!isEnded) throw problem('not_found')
  }

  return {
    create: accounts.counted('api_key_create', create),
    revoke: accounts.counted('api_key_revoke', revoke),

    async list(userId: string): Promise<ApiKeyView[]> {
      return (await findApiKeysOf(db, userId, MAX_LISTED)).map(viewOfApiKey)
    },

    /** For any holder of the key, such as the finder of a leaked key. @returns false when the key is unknown or has ended */
    async revokeHeld(key: string, context: AuditContext): Promise<boolean> {
      const found = isApiKey(key) ? await findApiKey(db, digestOf(key)) : undefined
      if (!found) return false
      const { id, user_id } = found.key
      const isEnded = await accounts.transaction('api_key_revoke', context, async (tx) => {
        await lockUser(tx.trx, user_id)
        return end(tx, user_id, id, { actor: BY_KEY + id })
      })
      if (isEnded) accounts.count('api_key_revoke', 'success')
      return isEnded
    },
  }
}

export type ApiKeys = ReturnType<typeof createApiKeys>

export const viewOfApiKey = (key: ApiKey): ApiKeyView => ({
  id: key.id,
  name: key.name,
  hint: key.hint,
  roles: [...key.roles].sort(),
  scopes: [...key.scopes].sort(),
  created_at: key.created_at.toISOString(),
  expires_at: key.expires_at?.toISOString() ?? null,
  last_used_at: key.last_used_at?.toISOString() ?? null,
})

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/

function readExpiry(text: string, now: Date): Date {
  const at = new Date(text)
  if (!INSTANT.test(text) || !isStorable(at))
    throw invalidField('expires_at', 'format', 'must be a date and time such as 2030-01-31T12:00:00Z')
  if (at <= now) throw invalidField('expires_at', 'in_past', 'must be in the future')
  return at
}
