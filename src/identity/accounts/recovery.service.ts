/** For a forgotten password: mails a link to the address of the account. The link sets a new password. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { listedDeviceName } from '../../platform/request/device-name.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { findApiKeysOf } from '../api-keys/api-keys.repo.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { type PasswordPolicy, SAME_PASSWORD } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { ProofOfWork } from '../credentials/proof-of-work.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { hasProvenAddress } from '../users/proven-address.ts'
import { findUserById, findUserByLogin, lockUser, type User, updateUser } from '../users/users.repo.ts'
import type { BackgroundQueue } from './background-queue.ts'
import type { Devices } from './devices.ts'
import { endApiKeys, removeUnprovenCredentials } from './first-proof.ts'
import { findLink } from './links.repo.ts'
import { detailsOf, type LinkDetails, type Links, linkHash } from './links.ts'

export interface RecoveryDeps {
  db: Db
  accounts: Accounts
  outbox: Outbox
  links: Links
  devices: Devices
  passwords: Passwords
  policy: PasswordPolicy
  limits: CredentialLimits
  proofOfWork: Pick<ProofOfWork, 'require'>
  backgroundQueue: BackgroundQueue
}

export interface Forgot {
  email: string
  proof_of_work?: string | undefined
}

export interface Reset {
  token: string
  new_password: string
  /** Default: false. The first proof of an address ends the keys in any case. */
  keep_api_keys?: boolean
}

const LINK_TTL_SECONDS = 1800
const PURPOSE = 'reset_password'

export function createRecovery(deps: RecoveryDeps) {
  const { db, accounts, outbox, links, devices, passwords, policy, limits, proofOfWork, backgroundQueue } = deps

  /** Answers before the account is looked up: neither the answer nor its time depends on whether there is an account. */
  async function forgot({ email, proof_of_work }: Forgot, context: RequestContext): Promise<void> {
    await proofOfWork.require('forgot', proof_of_work, context)
    await limits.recovery(context.client)
    backgroundQueue.add('the mail for a new password', context.requestId, () => sendLink(email, context))
  }

  async function sendLink(email: string, context: AuditContext): Promise<void> {
    const address = canonicalEmail(email.trim())
    // Postgres stores no NUL, and a username is not an address
    const isAddress = address.includes('@') && !address.includes('\0')
    const user = isAddress ? await findUserByLogin(db, address) : undefined
    const isKnown = user !== undefined && (await devices.recognise(user, null, context.ip)) !== null
    const maySend = await limits.mail(address, PURPOSE, isKnown ? 'owner' : 'stranger')
    const outcome = await accounts.transaction('password_forgot', context, async ({ trx, record }) => {
      const reached = user && (await lockUser(trx, user.id))
      const isOpen = reached?.email_canonical === address && !reached.disabled_at
      const result = !maySend ? 'rate_limited' : isOpen ? 'success' : 'not_found'
      if (result === 'success') await postLink(reached!)
      await record({ outcome: result, userId: user?.id ?? null })
      return result

      async function postLink({ id, email: to, language: known }: User) {
        const data = await links.issue(trx, {
          user: { id, email: to },
          purpose: PURPOSE,
          ttlSeconds: LINK_TTL_SECONDS,
          sessionId: null,
          device: listedDeviceName(context.userAgent),
        })
        const language = context.language ?? known
        await outbox.post(trx, { template: PURPOSE, data, to, language, userId: id, ttlSeconds: LINK_TTL_SECONDS })
      }
    })
    accounts.count('password_forgot', outcome)
  }

  /** What the page shows. The link stays as it is. */
  const details = (token: string, context: RequestContext): Promise<LinkDetails> =>
    limits.link(context.client, async () => {
      const found = await links.find(db, token, PURPOSE)
      if (!found) throw problem('link_invalid')
      const hasKeys = (await findApiKeysOf(db, found.owner.id, 1)).length > 0
      return { ...detailsOf(found), can_keep_api_keys: hasKeys && hasProvenAddress(found.owner) }
    })

  /** Opens no session: the login that follows asks for the second factor. */
  const reset = (input: Reset, context: RequestContext): Promise<void> => limits.link(context.client, () => useLink(input, context))

  async function useLink(input: Reset, context: RequestContext): Promise<void> {
    const owner = await ownerOf(input.token, context)
    const { id: userId, username, email } = owner
    passwords.assertRoom()
    // checked before the link is used up, so that a refused password does not cost the link;
    // a reset must not keep a password that has to be changed
    const isSame = owner.password_must_change && (await passwords.verify(owner.password_hash, input.new_password))
    const fault = isSame ? SAME_PASSWORD : await policy(input.new_password, [username, email])
    if (fault) throw invalidField('new_password', fault.code, fault.detail)
    const password_hash = await passwords.hash(input.new_password)

    const isReset = await accounts.transaction('password_reset', context, async (tx) => {
      const { trx, record, revoke } = tx
      const user = (await links.redeem(trx, input.token, PURPOSE))?.owner
      await record({ outcome: user ? 'success' : 'link_invalid', userId })
      if (!user) return false
      const now = await databaseNow(trx)
      // the mailed link proves the mailbox. What a login owes until the mailbox is proven ends here
      const email_verified_at = user.email_verified_at ?? now
      await updateUser(trx, userId, { password_hash, password_must_change: false, email_verified_at, must_confirm_login: false })
      if (!hasProvenAddress(user)) await removeUnprovenCredentials(tx, userId, now)
      else if (!input.keep_api_keys) await endApiKeys(tx, userId, now)
      await outbox.post(trx, { template: 'password_changed', data: noticeContextOf(now, context), to: user.email, userId })
      await revoke.allSessions(userId, 'password_reset')
      return true
    })
    if (!isReset) throw problem('link_invalid', { cause: 'the link is used, expired, or outdated' })
  }

  /** The user that a link was mailed to, also when the link has expired. @throws link_invalid */
  async function ownerOf(token: string, context: AuditContext): Promise<User> {
    const hash = linkHash(token)
    const link = hash && (await findLink(db, hash, PURPOSE))
    const owner = link && (await findUserById(db, link.user_id))
    if (owner) return owner
    await accounts.record('password_reset', { outcome: 'link_invalid' }, context)
    throw problem('link_invalid', { cause: 'the link is unknown or used' })
  }

  return { forgot, details, reset: accounts.counted('password_reset', reset) }
}
