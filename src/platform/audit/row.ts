/** The text forms of an audit row, for its MAC, its leaf in the tree hash and its link to personal data. */
import { hash } from 'node:crypto'
import type { AuditLogTable } from '../db/tables.ts'
import type { Secrets } from '../vault/secrets.ts'

export type Facts = Pick<
  AuditLogTable,
  'id' | 'at' | 'event' | 'outcome' | 'user_id' | 'session_id' | 'actor' | 'detail' | 'request_id' | 'personal'
>

/** Personal data, and a salt. Once both are erased, trying values against the hash cannot find the data. */
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

export const sha256 = (text: string): string => hash('sha256', text)

export const ROW_MAC = 'audit row'

/** The text under the row's MAC. */
export const textOf = (facts: Facts): string => JSON.stringify(listOf(facts))

/** The leaf in the tree hash; it contains the MAC. */
export const leafOf = (row: Facts & { mac: string | null }): string => JSON.stringify([...listOf(row), row.mac])

export type Verdict = 'good' | 'forged' | 'unsigned' | 'unknown key'

/** Whether a gateway wrote the row. With an unknown key only the row's batch can vouch for it. */
export function judge(secrets: Secrets, row: Facts & { mac: string | null }): Verdict {
  if (row.mac === null) return 'unsigned'
  if (secrets.verifyMac(ROW_MAC, textOf(row), row.mac)) return 'good'
  return secrets.knows(row.mac) ? 'forged' : 'unknown key'
}

/** Migration 0010 computes the same hash in SQL. */
export const commitmentOf = ({ salt, ip, user_agent }: Personal): string => sha256(salt + JSON.stringify([ip, user_agent]))

/** Prefix of an actor that presented an API key. The key is taken as a key of the row's user. */
export const BY_KEY = 'apiKey:'

/** The user whose address and device are stored beside the row: the actor, else the user of the row. Null: no user. */
export const personOf = ({ actor, user_id }: Pick<Facts, 'actor' | 'user_id'>): string | null =>
  actor === null || actor.startsWith(BY_KEY) ? user_id : (/^user:(.+)$/.exec(actor)?.[1] ?? null)
