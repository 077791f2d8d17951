/** Operators block subjects and tokens of other issuers. Every gateway learns of a block as of a revocation. */
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { isName, subjectKey, targetOf, tokenKey } from '../issuers/block-keys.ts'
import { issOf } from '../issuers/public-issuers.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { findBlocks, writeBlock } from '../sessions/revocations.repo.ts'
import type { Actor, AuditedAction } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'

export interface ExternalBlockActionsDeps {
  db: Db
  accounts: Accounts
  audited: AuditedAction
  lockForAction: LockForAction
  config: Pick<Config, 'issuers'>
}

/** One of `sub` and `jti`. */
export interface BlockInput {
  /** `id` or `issuer` of the configuration. */
  issuer: string
  sub?: string | undefined
  jti?: string | undefined
}

export interface BlockView {
  issuer: string
  sub?: string
  jti?: string
  blocked_at: string
  /** Null: until it is lifted. */
  until: string | null
}

const MAX_LISTED = 1000
/** The end of the year 9999. */
const FOR_EVER_MS = 253_402_300_799_000
/** The longest life of a token that a configuration can allow, and what clocks may be wrong by. */
const LONGEST_TOKEN_MS = (86_400 + 660) * 1000
/** For a gateway that could not read the database meanwhile. */
const LIFTED_MS = 30 * 86_400_000

export function createExternalBlockActions({ db, accounts, audited, lockForAction, config }: ExternalBlockActionsDeps) {
  const known = ({ issuer }: BlockInput) =>
    config.issuers.find((settings) => [settings.id, settings.issuer, ...issOf(settings)].includes(issuer))

  function keyOf(issuer: string, { sub, jti }: BlockInput): string {
    if ((sub === undefined) === (jti === undefined)) throw invalidField('body', 'format', 'must have either sub or jti')
    const [field, value] = sub === undefined ? ['jti', jti] : ['sub', sub]
    if (!isName(value)) throw invalidField(field!, 'format', 'must be as the token has it: 1 to 512 characters, without control characters')
    return sub === undefined ? tokenKey(issuer, value) : subjectKey(issuer, value)
  }

  const detailOf = ({ issuer, sub, jti }: BlockInput) =>
    `${known({ issuer })?.id ?? issuer} ${sub === undefined ? `jti ${jti}` : `sub ${sub}`}`

  /** @throws validation_failed */
  async function block(input: BlockInput, by: Actor): Promise<void> {
    const settings = known(input)
    if (!settings) {
      const ids = config.issuers.map(({ id }) => id).join(', ') || 'there are none'
      throw invalidField('issuer', 'not_allowed', `must be the id or the issuer of an entry of issuers: ${ids}`)
    }
    const blockKey = keyOf(settings.issuer, input)
    const event = 'external_block'
    await audited({ event, detail: detailOf(input) }, by, () =>
      accounts.transaction(event, by.context, async (tx) => {
        await lockForAction(tx.trx, by)
        const until = input.jti === undefined ? FOR_EVER_MS : (await databaseNow(tx.trx)).getTime() + LONGEST_TOKEN_MS
        await writeBlock(tx, { blockKey, isLifted: false }, until)
        await tx.record({ actor: by.actor, detail: detailOf(input) })
      }),
    )
  }

  /** Also for an issuer that is no longer in the configuration. @throws not_found, validation_failed */
  async function unblock(input: BlockInput, by: Actor): Promise<void> {
    const blockKey = keyOf(known(input)?.issuer ?? input.issuer, input)
    const event = 'external_unblock'
    await audited({ event, detail: detailOf(input) }, by, () =>
      accounts.transaction(event, by.context, async (tx) => {
        await lockForAction(tx.trx, by)
        const until = (await databaseNow(tx.trx)).getTime() + LIFTED_MS
        if (!(await writeBlock(tx, { blockKey, isLifted: true }, until))) throw problem('not_found', { detail: 'There is no such block.' })
        await tx.record({ actor: by.actor, detail: detailOf(input) })
      }),
    )
  }

  async function blocks(): Promise<BlockView[]> {
    return (await findBlocks(db, MAX_LISTED)).map(({ blockKey, blockedAt, until }) => {
      const { issuer, kind, value } = targetOf(blockKey)
      return {
        issuer,
        [kind]: value,
        blocked_at: blockedAt.toISOString(),
        until: until.getTime() >= FOR_EVER_MS ? null : until.toISOString(),
      }
    })
  }

  return { blockExternal: block, unblockExternal: unblock, externalBlocks: blocks }
}
