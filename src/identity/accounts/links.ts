/**
 * Mailed links. A token has 256 random bits, and the database holds only its SHA-256. Each link works once. Links are built from
 * `server.publicUrl`, never from the Host header. They carry the token in the fragment, which reaches no server and no log.
 *
 * A link proves that its user reads the mailbox, and nothing else. It does not show that this user made the account or asked for the link.
 */

import { createHash, randomBytes } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { OrNull, Timestamp } from '../../platform/http/endpoint.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { LinkPurpose, MailPurpose } from '../credentials/credential-limits.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { findUserById, lockUser, type User } from '../users/users.repo.ts'
import { deleteLinksOf, findLink, findLinksOf, insertLink, type LinkRow, takeLink, trimLinks } from './links.repo.ts'

/** The paths of the linked pages, under `auth.prefix`. */
export const LINK_PATHS: Record<LinkPurpose, string> = {
  verify_email: '/email/verify',
  reset_password: '/password/reset',
  confirm_login: '/login/confirm',
}

/** The same with `auth.browser.enabled`. */
const BROWSER_PATHS = {
  verify_email: '/ui/verify',
  reset_password: '/ui/reset',
  confirm_login: '/ui/confirm-login',
  // without these pages, nothing could open a session
  email_login: '/ui/email-login',
} satisfies Record<MailPurpose, string>

export const linkPathsOf = ({ browser }: Pick<Config['auth'], 'browser'>): Record<LinkPurpose, string> =>
  browser.enabled ? BROWSER_PATHS : LINK_PATHS

/** The lifetime of a link that proves an address. */
export const PROOF_TTL_SECONDS = 86_400

/** A new link leaves older links valid, up to this number for an account and purpose, or for a registration. The oldest are dropped. */
export const MAX_LINKS = 5

export interface LinkRequest {
  user: Pick<User, 'id' | 'email'>
  purpose: LinkPurpose
  ttlSeconds: number
  /** The address that gets the link and that the link proves. The address of the user by default. */
  email?: string
  /** The session that asks. Null when the link was asked for without one. */
  sessionId: string | null
  /** The device that asks: a name of the fixed list. */
  device: string | null
  /** The country that the link confirms for logins. */
  country?: string | null
}

/** What the page of a link shows to the reader of the mailbox. */
export const LinkDetails = Type.Object(
  {
    username: OrNull(Type.String()),
    email: Type.String({ description: 'The address that the link proves.' }),
    requested_at: Timestamp,
    device: OrNull(Type.String(), { description: 'The device that asked, from a fixed list.' }),
    country: Type.Optional(OrNull(Type.String(), { description: 'The country that the login came from (ISO 3166-1), if it is known.' })),
    can_keep_api_keys: Type.Optional(Type.Boolean({ description: 'Whether a reset may keep API keys.' })),
  },
  { title: 'LinkDetails' },
)

export type LinkDetails = Static<typeof LinkDetails>

export const detailsOf = ({ link, owner }: LivingLink): LinkDetails => ({
  username: owner.username,
  email: link.email,
  requested_at: link.created_at.toISOString(),
  device: link.device,
})

export interface LivingLink {
  link: LinkRow
  owner: User
}

export interface Links {
  /** Locks the user. Older links for the same purpose stay valid. */
  issue(trx: Transaction, request: LinkRequest): Promise<{ url: string; minutes: number }>
  /**
   * Finds a link and its user without using the link up.
   * @returns undefined when the link is unknown, used or expired, and when the user is disabled. Also when, since the link was mailed,
   * every session was ended or the address changed.
   */
  find(db: Db, token: string, purpose: LinkPurpose): Promise<LivingLink | undefined>
  /** Locks the user, and uses the link up. The user's other links for the purpose end too. @returns undefined as `find` does */
  redeem(trx: Transaction, token: string, purpose: LinkPurpose): Promise<LivingLink | undefined>
  /** The new address that waits for the use of its link. Null when none waits. */
  waitingAddress(db: Db, owner: User): Promise<string | null>
  /** Makes a token and its link. The caller stores the hash. @param purpose `email_login` only where there are pages for browsers */
  mint(purpose: MailPurpose): { tokenHash: Buffer; url: string }
}

const FORM = /^[A-Za-z0-9_-]{43}$/

/** @returns the stored hash of a token; null when the token has not the form of a link token */
export const linkHash = (token: string): Buffer | null => (FORM.test(token) ? createHash('sha256').update(token).digest() : null)

function isLiving(link: LinkRow, owner: User, now: Date): boolean {
  if (owner.disabled_at || link.session_epoch !== owner.session_epoch) return false
  // only a link that proves its address may belong to an address that is not the account's
  if (link.purpose !== 'verify_email' && canonicalEmail(link.email) !== owner.email_canonical) return false
  return link.expires_at > now
}

export function createLinks({ server, auth }: Pick<Config, 'server' | 'auth'>): Links {
  const base = server.publicUrl + auth.prefix
  const paths = { ...BROWSER_PATHS, ...linkPathsOf(auth) }

  function mint(purpose: MailPurpose) {
    const token = randomBytes(32).toString('base64url')
    return { tokenHash: linkHash(token)!, url: `${base}${paths[purpose]}#token=${token}` }
  }

  return {
    mint,
    async issue(trx, { user, purpose, ttlSeconds, email = user.email, sessionId, device, country = null }) {
      const owner = await lockUser(trx, user.id)
      if (!owner) throw problem('link_invalid', { cause: 'the user was deleted' })
      await trimLinks(trx, owner.id, purpose, MAX_LINKS - 1)
      const { tokenHash, url } = mint(purpose)
      const now = await databaseNow(trx)
      await insertLink(trx, {
        id: uuidv7(),
        user_id: owner.id,
        purpose,
        token_hash: tokenHash,
        email,
        session_epoch: owner.session_epoch,
        session_id: sessionId,
        device,
        country,
        created_at: now,
        expires_at: new Date(now.getTime() + ttlSeconds * 1000),
      })
      return { url, minutes: Math.floor(ttlSeconds / 60) }
    },
    async find(db, token, purpose) {
      const hash = linkHash(token)
      const link = hash && (await findLink(db, hash, purpose))
      const owner = link && (await findUserById(db, link.user_id))
      return owner && isLiving(link, owner, await databaseNow(db)) ? { link, owner } : undefined
    },
    async waitingAddress(db, owner) {
      const links = await findLinksOf(db, owner.id, 'verify_email')
      if (links.length === 0) return null
      const now = await databaseNow(db)
      const isWaiting = (link: LinkRow) => canonicalEmail(link.email) !== owner.email_canonical && isLiving(link, owner, now)
      return links.find(isWaiting)?.email ?? null
    },
    async redeem(trx, token, purpose) {
      const hash = linkHash(token)
      const known = hash && (await findLink(trx, hash, purpose))
      if (!known) return undefined
      // lock order: the user first
      const owner = await lockUser(trx, known.user_id)
      const link = await takeLink(trx, known.id)
      if (!owner || !link || !isLiving(link, owner, await databaseNow(trx))) return undefined
      await deleteLinksOf(trx, owner.id, purpose)
      return { link, owner }
    },
  }
}
