/**
 * Every mail passes this gate on its way to the outbox. It keeps an account from being used to write to the address of another person.
 *
 * - A link passes, and so does the mail in place of a link. Its request was counted by recipient before: see `credential-limits.ts`.
 * - A notice of the account's own action goes only to a proven address.
 * - An alert about another person's action always goes. To an address that is not proven it goes without text of a user, on a budget of its own.
 */
import type { Config } from '../../platform/config/schema.ts'
import type { Transaction } from '../../platform/db/database.ts'
import { addToCounter } from '../../platform/limits/counters.repo.ts'
import type { Mail, Outbox } from '../../platform/mail/outbox.ts'
import { MAIL_CLASSES } from '../../platform/mail/templates.ts'
import { ifListed } from '../../platform/request/device-name.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { canonicalEmail } from './canonical-login.ts'
import { hasProvenAddress } from './proven-address.ts'
import { findUserById, type User } from './users.repo.ts'

export interface MailGateDeps {
  outbox: Outbox
  secrets: Secrets
  limit: Config['limits']['credentials']['mail']
}

/** Each template has a budget of its own at a proven address: a flood of one kind hides no mail of another kind. */
const PROVEN_FACTOR = 6

export function createMailGate({ outbox, secrets, limit: { limit, windowSeconds } }: MailGateDeps): Outbox {
  function isProven({ to, isProven }: Mail, user: User | undefined): boolean {
    if (isProven !== undefined) return isProven
    return user !== undefined && user.email_canonical === canonicalEmail(to) && hasProvenAddress(user)
  }

  /** Counted in the transaction of the mail: an action that is rolled back costs nothing. */
  async function isWithin(trx: Transaction, to: string, budget: string, max: number): Promise<boolean> {
    const recipient = secrets.derive(`mail recipient ${budget}`, Buffer.from(canonicalEmail(to))).toString('base64url')
    return (await addToCounter(trx, `mail:${recipient}`, 1, windowSeconds)).count <= max
  }

  return {
    async post(trx, mail) {
      const kind = mail.isByOther ? 'alert' : MAIL_CLASSES[mail.template]
      if (kind === 'link') return outbox.post(trx, mail)
      const user = mail.userId === null ? undefined : await findUserById(trx, mail.userId)
      const notice = { ...mail, language: mail.language ?? user?.language }
      if (isProven(mail, user)) {
        if (await isWithin(trx, mail.to, `notice ${mail.template}`, limit * PROVEN_FACTOR)) await outbox.post(trx, notice)
      } else if (kind === 'alert' && (await isWithin(trx, mail.to, 'alert', limit))) {
        await outbox.post(trx, { ...notice, data: withoutText(mail.data) } as Mail)
      }
    },
  }
}

/** The address and the time were not chosen by a user, and the device stays when its name is in the list. Every other text goes. */
const withoutText = (data: Mail['data']): object =>
  Object.fromEntries(
    Object.entries(data).flatMap(([name, value]) => {
      if (name === 'device') return [[name, ifListed(value as string | null)]]
      return name === 'at' || name === 'ip' || typeof value !== 'string' ? [[name, value]] : []
    }),
  )
