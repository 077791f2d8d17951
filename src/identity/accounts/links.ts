/**
 * Links that are mailed: 256 random bits, only their SHA-256 at rest, each good once. They are built from `server.publicUrl`, never from what
 * a request says of its host, and carry the token in the fragment, which no server and no log ever sees.
 */

import { createHash, randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { LinkPurpose } from '../credentials/credential-limits.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { lockUser, type User } from '../users/users.repo.ts'
import { deleteLinksOf, findLink, insertLink, type LinkRow, takeLink } from './links.repo.ts'

/** Where the page stands that a link opens, under `auth.prefix`. */
export const LINK_PATHS: Record<LinkPurpose, string> = { verify_email: '/email/verify', reset_password: '/password/reset' }

/** Of a link that proves an address. */
export const PROOF_TTL_SECONDS = 86_400

export interface LinkRequest {
  user: Pick<User, 'id' | 'email'>
  purpose: LinkPurpose
  ttlSeconds: number
  /** To which it goes, and which it proves; the user's own unless it is to be another. */
  email?: string
}

export interface Links {
  /** Locks the user. Older links for the same purpose are dead from then on. */
  issue(trx: Transaction, request: LinkRequest): Promise<{ url: string; minutes: number }>
  /**
   * Locks the user, and uses the link up.
   * @returns undefined when it is unknown, used, expired, or from before the user was disabled, every session was ended, or the address changed
   */
  redeem(trx: Transaction, token: string, purpose: LinkPurpose): Promise<LinkRow | undefined>
  /** A token and its link, for a row that is kept elsewhere. */
  mint(purpose: LinkPurpose): { tokenHash: Buffer; url: string }
}

const FORM = /^[A-Za-z0-9_-]{43}$/

/** What is stored of a token; null when none of ours looks like it. */
export const linkHash = (token: string): Buffer | null => (FORM.test(token) ? createHash('sha256').update(token).digest() : null)

export function createLinks({ server, auth }: Pick<Config, 'server' | 'auth'>): Links {
  const base = server.publicUrl + auth.prefix

  function mint(purpose: LinkPurpose) {
    const token = randomBytes(32).toString('base64url')
    return { tokenHash: linkHash(token)!, url: `${base}${LINK_PATHS[purpose]}#token=${token}` }
  }

  return {
    mint,
    async issue(trx, { user, purpose, ttlSeconds, email = user.email }) {
      const owner = await lockUser(trx, user.id)
      if (!owner) throw problem('link_invalid', { cause: 'the user is gone' })
      await deleteLinksOf(trx, owner.id, purpose)
      const { tokenHash, url } = mint(purpose)
      const now = await databaseNow(trx)
      await insertLink(trx, {
        id: uuidv7(),
        user_id: owner.id,
        purpose,
        token_hash: tokenHash,
        email,
        session_epoch: owner.session_epoch,
        created_at: now,
        expires_at: new Date(now.getTime() + ttlSeconds * 1000),
      })
      return { url, minutes: Math.floor(ttlSeconds / 60) }
    },
    async redeem(trx, token, purpose) {
      const hash = linkHash(token)
      const known = hash && (await findLink(trx, hash, purpose))
      if (!known) return undefined
      // the order of all locks: the user's first
      const owner = await lockUser(trx, known.user_id)
      const link = await takeLink(trx, known.id)
      if (!owner || !link || owner.disabled_at || link.session_epoch !== owner.session_epoch) return undefined
      // mailed to an address that was given up since: only one that proves its address may be to another
      if (purpose !== 'verify_email' && canonicalEmail(link.email) !== owner.email_canonical) return undefined
      return link.expires_at > (await databaseNow(trx)) ? link : undefined
    },
  }
}
