/** Operators invite people. The mail holds a link; only the SHA-256 of its token is kept. */
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import {
  deleteInvitation,
  type Invitation,
  listInvitations,
  lockInvitation,
  putInvitation,
  renewInvitation,
} from '../accounts/invitations.repo.ts'
import { mintInvitation } from '../accounts/invitations.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { canonicalEmail, nameFaults, shownEmail } from '../users/canonical-login.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import type { Actor, AuditedAction } from './audited-action.ts'
import type { LockForAction } from './lock-for-action.ts'
import type { AssertRolesFit } from './role-actions.ts'

export interface InvitationActionsDeps {
  db: Db
  accounts: Accounts
  audited: AuditedAction
  outbox: Outbox
  config: Pick<Config, 'server' | 'auth'>
  assertKnownRole: (role: string) => void
  assertFits: AssertRolesFit
  lockForAction: LockForAction
}

export interface NewInvitation {
  email: string
  roles: string[]
  /** Default: a week, the longest life. */
  expiresInSeconds?: number | undefined
}

export const MAX_INVITATION_SECONDS = 604_800
const MIN_SECONDS = 300
const MAX_LISTED = 500

export function createInvitationActions(deps: InvitationActionsDeps) {
  const { db, accounts, audited, outbox, config, assertKnownRole, assertFits, lockForAction } = deps

  /** @throws not_found where there is no page that accepts an invitation */
  function requirePages(): void {
    if (!config.auth.browser.enabled)
      throw problem('forbidden', {
        cause: 'auth.browser.enabled is false',
        detail: 'Invitations need auth.browser.enabled: their link leads to a page.',
      })
  }

  /** An inviter gives no more than what the inviter has. The command line may give every role. */
  function assertMayGive({ principal }: Actor, roles: readonly string[]): void {
    const more = roles.filter((role) => principal && !principal.roles.has(role))
    if (more.length > 0) throw invalidField('roles', 'not_allowed', `must be roles of your own, and ${more.join(', ')} is not`)
  }

  async function post(
    trx: Transaction,
    { email, expires_at }: Invitation,
    token: string,
    now: Date,
    language: string | null,
  ): Promise<void> {
    const minutes = Math.floor((expires_at.getTime() - now.getTime()) / 60_000)
    const url = `${config.server.publicUrl}${config.auth.prefix}/ui/invitation#token=${token}`
    await outbox.post(trx, {
      template: 'invitation',
      data: { url, minutes },
      to: email,
      language,
      userId: null,
      ttlSeconds: minutes * 60,
    })
  }

  const during = (by: Actor, entry: { event: string; detail: string }, work: (tx: AccountTransaction) => Promise<Invitation>) =>
    audited(entry, by, () =>
      accounts.transaction(entry.event, by.context, async (tx) => {
        await lockForAction(tx.trx, by)
        const invitation = await work(tx)
        await tx.record({ ...entry, actor: by.actor, detail: [invitation.id, ...invitation.roles].join(' ') })
        return invitation
      }),
    )

  return {
    /** Replaces the invitation that the address has. @throws validation_failed */
    async invite({ email, roles: given, expiresInSeconds = MAX_INVITATION_SECONDS }: NewInvitation, by: Actor): Promise<Invitation> {
      requirePages()
      const faults = nameFaults(undefined, email)
      if (faults.length) throw problem('validation_failed', { errors: faults })
      if (expiresInSeconds < MIN_SECONDS || expiresInSeconds > MAX_INVITATION_SECONDS)
        throw invalidField('expires_in_seconds', 'format', `must be from ${MIN_SECONDS} to ${MAX_INVITATION_SECONDS}`)
      const roles = [...new Set(given.length ? given : FIRST_ROLES)].sort()
      roles.forEach(assertKnownRole)
      assertMayGive(by, roles)
      assertFits(roles)
      const { token, tokenHash } = mintInvitation()
      return during(by, { event: 'invitation_create', detail: roles.join(' ') }, async ({ trx }) => {
        const now = await databaseNow(trx)
        const invitation = await putInvitation(trx, {
          id: uuidv7(),
          email: shownEmail(email),
          email_canonical: canonicalEmail(email),
          roles,
          token_hash: tokenHash,
          invited_by: by.principal?.id ?? null,
          created_at: now,
          expires_at: new Date(now.getTime() + expiresInSeconds * 1000),
        })
        await post(trx, invitation, token, now, by.context.language ?? null)
        return invitation
      })
    },

    /** Mails a new link; the link before is no longer valid. The invitation lives as long again. @throws not_found */
    resendInvitation(id: string, by: Actor): Promise<Invitation> {
      const { token, tokenHash } = mintInvitation()
      return during(by, { event: 'invitation_resend', detail: id }, async ({ trx }) => {
        const known = isId(id) ? await lockInvitation(trx, id) : undefined
        if (!known) throw problem('not_found')
        assertMayGive(by, known.roles)
        const now = await databaseNow(trx)
        const lifeMs = known.expires_at.getTime() - known.created_at.getTime()
        const expires_at = new Date(now.getTime() + Math.min(lifeMs, MAX_INVITATION_SECONDS * 1000))
        const renewed = await renewInvitation(trx, id, { token_hash: tokenHash, expires_at, invited_by: by.principal?.id ?? null })
        await post(trx, renewed, token, now, by.context.language ?? null)
        return renewed
      })
    },

    /** @throws not_found */
    withdrawInvitation: (id: string, by: Actor): Promise<Invitation> =>
      during(by, { event: 'invitation_withdraw', detail: id }, async ({ trx }) => {
        const gone = isId(id) ? await deleteInvitation(trx, id) : undefined
        if (!gone) throw problem('not_found')
        return gone
      }),

    /** Newest first. Invitations that were accepted are no longer listed. */
    invitations: (): Promise<Invitation[]> => listInvitations(db, MAX_LISTED),
  }
}
