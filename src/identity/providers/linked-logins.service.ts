/** The logins at providers that belong to a user. */
import type { Db } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { deleteLinkedLogin, findLinkedLoginsOf, findSessionsOfLogin } from '../accounts/linked-logins.repo.ts'
import type { WaysIn } from '../accounts/ways-in.ts'
import type { Proof, StepUp } from '../factors/step-up.ts'
import type { Providers } from './providers.ts'

/** For the user. */
export interface LinkedLoginView {
  provider: string
  label: string
  /** As the provider names it. */
  email: string | null
  created_at: string
  last_used_at: string
}

export interface LinkedLoginsDeps {
  db: Db
  outbox: Outbox
  stepUp: StepUp
  providers: Providers
  waysIn: WaysIn
}

export function createLinkedLogins({ db, outbox, stepUp, providers, waysIn }: LinkedLoginsDeps) {
  return {
    async list(userId: string): Promise<LinkedLoginView[]> {
      return (await findLinkedLoginsOf(db, userId)).map(({ provider, issuer, email, created_at, last_used_at }) => {
        const configured = providers.withIssuer(issuer)
        return {
          provider: configured?.id ?? provider,
          label: configured?.label ?? provider,
          email,
          created_at: created_at.toISOString(),
          last_used_at: last_used_at.toISOString(),
        }
      })
    },

    /**
     * The sessions that this login has opened end, except the caller's own.
     * @param id of the provider
     * @throws not_found, last_credential, reauthentication_required
     */
    async unlink(principal: Principal, id: string, proof: Proof, context: RequestContext): Promise<void> {
      const proven = await stepUp(principal, proof, context)
      await proven.commit('login_unlink', async (tx, { user, now }) => {
        const all = await findLinkedLoginsOf(tx.trx, user.id)
        const linked = all.find(({ issuer, provider }) => (providers.withIssuer(issuer)?.id ?? provider) === id)
        if (!linked) throw problem('not_found')
        await waysIn.assertOther(tx.trx, user, linked.id)
        for (const { session_id } of await findSessionsOfLogin(tx.trx, linked.id, null))
          if (session_id !== null && session_id !== principal.sessionId) await tx.revoke.session(user.id, session_id, 'login_unlink')
        await deleteLinkedLogin(tx.trx, linked.id)
        await tx.record({ userId: user.id, detail: id })
        const label = providers.withIssuer(linked.issuer)?.label ?? id
        const data = { ...noticeContextOf(now, context), provider: label }
        await outbox.post(tx.trx, { template: 'login_unlinked', data, to: user.email, userId: user.id })
      })
    },
  }
}
