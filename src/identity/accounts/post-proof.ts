/** Mails a link that proves the address of an account, or its new address. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { listedDeviceName } from '../../platform/request/device-name.ts'
import type { User } from '../users/users.repo.ts'
import { type Links, PROOF_TTL_SECONDS } from './links.ts'

/** @param to the address that gets the link. @param sessionId the session that asks: it may use the link without the password */
export type PostProof = (trx: Transaction, user: User, to: string, sessionId: string, context: AuditContext) => Promise<void>

export const createPostProof =
  ({ links, outbox }: { links: Links; outbox: Outbox }): PostProof =>
  async (trx, user, to, sessionId, context) => {
    const device = listedDeviceName(context.userAgent)
    const purpose = 'verify_email'
    const { url, minutes } = await links.issue(trx, { user, purpose, ttlSeconds: PROOF_TTL_SECONDS, email: to, sessionId, device })
    const at = (await databaseNow(trx)).toISOString()
    const data = { url, minutes, username: user.username, at, device, more: [] }
    await outbox.post(trx, {
      template: 'verify_email',
      data,
      to,
      language: context.language ?? user.language,
      userId: user.id,
      ttlSeconds: PROOF_TTL_SECONDS,
    })
  }
