/** A username for an account that begins with a provider. The user may change it later. */
import { randomInt } from 'node:crypto'
import type { Transaction } from '../../platform/db/database.ts'
import { isPendingName } from '../accounts/pending-registrations.repo.ts'
import { canonicalUsername, isUsername } from '../users/canonical-login.ts'
import { isHeld } from '../users/held-usernames.repo.ts'
import { findUserByLogin } from '../users/users.repo.ts'

const MAX_BASE = 26
const ATTEMPTS = 5

/** @param reserved `auth.reservedUsernames` */
export async function freeUsername(trx: Transaction, wishes: readonly (string | null)[], reserved: readonly string[]): Promise<string> {
  const base = wishes.map((wish) => baseOf(wish ?? '')).find((name) => isUsername(name)) ?? 'user'
  for (let i = 0; i < ATTEMPTS; i++) {
    const name = i === 0 && isUsername(base) && base !== 'user' ? base : `${base}-${randomInt(1000, 1_000_000)}`
    if (!reserved.includes(name) && (await isFree(trx, name))) return name
  }
  return `user-${randomInt(1_000_000_000, 100_000_000_000)}`
}

const isFree = async (trx: Transaction, username: string): Promise<boolean> =>
  !(await findUserByLogin(trx, username)) && !(await isPendingName(trx, username, null)) && !(await isHeld(trx, { id: null, username }))

/** Letters without their accents; everything else becomes a hyphen. */
const baseOf = (wish: string): string =>
  canonicalUsername(wish.replace(/@.*$/s, ''))
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '')
    .slice(0, MAX_BASE)
