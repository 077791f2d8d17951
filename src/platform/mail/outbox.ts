/**
 * Mails to users. A mail is written in the transaction of the action that it reports, and `sender.ts` sends it afterwards. A crash therefore
 * loses no mail, and an action that was rolled back sends none.
 */
import { uuidv7 } from 'uuidv7'
import { databaseNow, type Transaction } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import { insertMail } from './outbox.repo.ts'
import type { Templates } from './templates.ts'

export type Mail = { [T in keyof Templates]: { template: T; data: Templates[T] } }[keyof Templates] & {
  to: string
  userId: string | null
  /** Of the recipient. Default: the language of the user. */
  language?: string | null | undefined
  /** Whether `to` is proven. Default: as the address of the user is. Given for an address that the user has just given up. */
  isProven?: boolean
  /** The notice reports the action of another person, such as an administrator: it goes out as an alert. */
  isByOther?: true
  /** Only one mail with the same key is sent. Default: the mail's own id. */
  key?: string
  /** After this time the mail is not sent. For a mail with a link: the lifetime of the link. */
  ttlSeconds?: number
}

export interface Outbox {
  post(trx: Transaction, mail: Mail): Promise<void>
}

/** The sealed part: it holds personal data, and possibly a link that gives access to the account. */
export interface Payload {
  to: string
  /** Missing in mails of older versions. */
  language?: string | null
  data: Record<string, unknown>
}

export const payloadLocation = (id: string, userId: string | null) => ({
  table: 'outbox',
  row: id,
  column: 'payload_sealed',
  owner: userId ?? '',
})

const TTL_SECONDS = 3 * 86_400

export function createOutbox({ secrets }: { secrets: Secrets }): Outbox {
  return {
    async post(trx, { template, data, to, language = null, userId, key, ttlSeconds = TTL_SECONDS }) {
      const id = uuidv7()
      const payload: Payload = { to, language, data: { ...data } }
      const expires_at = new Date((await databaseNow(trx)).getTime() + ttlSeconds * 1000)
      const payload_sealed = secrets.seal(payloadLocation(id, userId), Buffer.from(JSON.stringify(payload)))
      await insertMail(trx, {
        id,
        key: key ?? id,
        user_id: userId,
        template,
        payload_sealed,
        expires_at,
        sent_at: null,
        failed_at: null,
        last_error: null,
      })
    },
  }
}
