/** An audit row as bytes: what its MAC, its place in a batch and its bond to personal data are computed from. */
import { createHash } from 'node:crypto'
import type { AuditLogTable } from '../db/tables.ts'
import type { Secrets } from '../vault/secrets.ts'

export type Facts = Pick<
  AuditLogTable,
  'id' | 'at' | 'event' | 'outcome' | 'user_id' | 'session_id' | 'actor' | 'detail' | 'request_id' | 'personal'
>

/** What names a person, and the salt that makes its hash useless to a guesser once both are erased. */
export interface Personal {
  salt: string
  ip: string | null
  user_agent: string | null
}

const listOf = (f: Facts) => [
  f.id,
  f.at.toISOString(),
  f.event,
  f.outcome,
  f.user_id,
  f.session_id,
  f.actor,
  f.detail,
  f.request_id,
  f.personal,
]

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Purpose of the MACs of rows. */
export const ROW_MAC = 'audit row'

/** MAC'd in the transaction that writes the row. */
export const textOf = (facts: Facts): string => JSON.stringify(listOf(facts))

/** Hashed into the tree: the MAC is sealed with the row. */
export const leafOf = (row: Facts & { mac: string | null }): string => JSON.stringify([...listOf(row), row.mac])

export type Verdict = 'good' | 'forged' | 'unsigned' | 'unknown key'

/** Whether a gateway wrote the row. Under a key that is not at hand nobody can tell: only a batch vouches for it. */
export function judge(secrets: Secrets, row: Facts & { mac: string | null }): Verdict {
  if (row.mac === null) return 'unsigned'
  if (secrets.verifyMac(ROW_MAC, textOf(row), row.mac)) return 'good'
  return secrets.knows(row.mac) ? 'forged' : 'unknown key'
}

/** Migration 0010 computes it, too. */
export const commitmentOf = ({ salt, ip, user_agent }: Personal): string => sha256(salt + JSON.stringify([ip, user_agent]))

/** How an actor begins who showed an API key: of the user that the row is about, as far as anybody can tell. */
export const BY_KEY = 'apiKey:'

/** Whose address and device lie beside the row: of who did it, else of whom it is about. Null: of no user. */
export const personOf = ({ actor, user_id }: Pick<Facts, 'actor' | 'user_id'>): string | null =>
  actor === null || actor.startsWith(BY_KEY) ? user_id : (/^user:(.+)$/.exec(actor)?.[1] ?? null)
