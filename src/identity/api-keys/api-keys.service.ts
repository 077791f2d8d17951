/** API keys of people: made in a session, shown once, with no more than their owner has; ended by the owner, or by whoever holds one. */
import { uuidv7 } from 'uuidv7'
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { BY_KEY } from '../../platform/audit/row.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { isStorable } from '../../platform/lib/timestamps.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { digestOf, hintOf, isApiKey, makeApiKey } from '../../platform/request/api-key-format.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Principal } from '../access/principal.ts'
import { requireFreshFactor } from '../credentials/freshness.ts'
import { lockCaller } from '../credentials/password-check.ts'
import { field } from '../credentials/password-policy.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { SessionRevoker } from '../sessions/revoke-sessions.ts'
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
  /** None, and no scopes either: all that the owner has. */
  roles?: string[]
  /** None: what the roles give. */
  scopes?: string[]
  /** RFC 3339. */
  expires_at?: string
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
  clock: Clock
  audit: Audit
  outbox: Outbox
  sessionRevoker: SessionRevoker
  revocations: Revocations
  grantsOf: (roles: readonly string[]) => Grants
  config: Config
  metrics: Metrics
}

const MAX_LISTED = 1000
const DAY_MS = 86_400_000
/** Each is a row and a mail: without a bound, making and revoking in turns would fill the table, and the mailbox of an unproven address. */
const MIN_PER_DAY = 50

export function createApiKeys({ db, clock, audit, outbox, sessionRevoker, revocations, grantsOf, config, metrics }: ApiKeysDeps) {
  const { maxPerUser } = config.auth.apiKeys
  const maxPerDay = Math.max(maxPerUser, MIN_PER_DAY)

  async function create(caller: Principal, input: ApiKeyInput, context: AuditContext): Promise<ApiKeyView & { key: string }> {
    const key = makeApiKey()
    const made = await inTransaction(db, async (trx) => {
      const owner = await lockCaller(trx, caller)
      requireFreshFactor(caller, owner, clock.now())
      const now = await databaseNow(trx)
      const expires_at = input.expires_at === undefined ? null : readExpiry(input.expires_at, now)
      const carried = narrow(input, grantsOf(owner.roles))
      if ((await countLivingApiKeys(trx, owner.id, now)) >= maxPerUser) throw problem('limit_reached', { cause: `${maxPerUser} API keys` })
      if ((await countApiKeysMadeSince(trx, owner.id, new Date(now.getTime() - DAY_MS))) >= maxPerDay)
        throw problem('rate_limited', { cause: `${maxPerDay} API keys made in a day`, headers: { 'retry-after': '3600' } })
      const row = await insertApiKey(trx, {
        id: uuidv7(),
        user_id: owner.id,
        name: input.name,
        hint: hintOf(key),
        digest: digestOf(key),
        ...carried,
        created_at: now,
        expires_at,
      })
      const data = { ...noticeContextOf(now, context), name: row.name }
      await outbox.post(trx, { template: 'api_key_created', data, to: owner.email, userId: owner.id })
      const told = { event: 'api_key_create', outcome: 'success', userId: owner.id, sessionId: caller.sessionId, detail: row.id }
      await audit.record(trx, { ...told, context })
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
    if (beyond.length) throw problem('forbidden', { detail: 'A key can carry no role and no scope that you do not have.' })
    return carried
  }

  async function end(trx: Transaction, userId: string, id: string, by: { sessionId?: string; actor?: string; context: AuditContext }) {
    const revoked = await revokeApiKey(trx, userId, id, await databaseNow(trx))
    if (!revoked) return null
    await audit.record(trx, { event: 'api_key_revoke', outcome: 'success', userId, detail: id, ...by })
    return sessionRevoker.recordEnd(trx, userId, id)
  }

  async function announce(revocation: Revocation | null): Promise<boolean> {
    if (revocation) await revocations.announce(revocation)
    return revocation !== null
  }

  async function revoke(caller: Principal, id: string, context: AuditContext): Promise<void> {
    const ended = await inTransaction(db, async (trx) => {
      await lockCaller(trx, caller)
      return isId(id) ? end(trx, caller.id, id, { sessionId: caller.sessionId, context }) : null
    })
    if (!(await announce(ended))) throw problem('not_found')
  }

  const count = (event: string) => (outcome: string) => metrics.accountEvents.inc({ event, outcome })

  return {
    create: countOutcome(count('api_key_create'), create),
    revoke: countOutcome(count('api_key_revoke'), revoke),

    async list(userId: string): Promise<ApiKeyView[]> {
      return (await findApiKeysOf(db, userId, MAX_LISTED)).map(viewOfApiKey)
    },

    /** By holding it: whoever finds a key that has leaked can end it. @returns false for one that is unknown, or over */
    async revokeHeld(key: string, context: AuditContext): Promise<boolean> {
      const found = isApiKey(key) ? await findApiKey(db, digestOf(key)) : undefined
      if (!found) return false
      const { id, user_id } = found.key
      const ended = await inTransaction(db, async (trx) => {
        await lockUser(trx, user_id)
        return end(trx, user_id, id, { actor: BY_KEY + id, context })
      })
      if (ended) count('api_key_revoke')('success')
      return announce(ended)
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
    throw problem('validation_failed', { errors: field('expires_at', 'must be an instant such as 2030-01-31T12:00:00Z') })
  if (at <= now) throw problem('validation_failed', { errors: field('expires_at', 'must be in the future') })
  return at
}
