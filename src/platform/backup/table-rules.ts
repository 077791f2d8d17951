/** What a backup does with each table. A new table does not compile until it has a rule. */
import type { Database } from '../db/tables.ts'

/**
 * - `kept`: in the backup, and restored.
 * - `session`: in the backup. A restore leaves it out, unless sessions are to be kept: they may have been ended since.
 * - `passing`: in no backup. It holds what expires by itself, or what must not happen a second time, such as a mail.
 */
type Rule = 'kept' | 'session' | 'passing'

const RULES: Record<keyof Database, Rule> = {
  users: 'kept',
  sessions: 'session',
  refresh_tokens: 'session',
  session_cookies: 'session',
  signing_keys: 'kept',
  secret_canary: 'kept',
  revocations: 'kept',
  audit_log: 'kept',
  audit_personal: 'kept',
  audit_batches: 'kept',
  totp_factors: 'kept',
  backup_codes: 'kept',
  backup_code_keys: 'kept',
  passkeys: 'kept',
  email_logins: 'passing',
  used_tokens: 'kept',
  links: 'passing',
  pending_registrations: 'passing',
  pending_links: 'passing',
  outbox: 'passing',
  devices: 'kept',
  device_networks: 'kept',
  device_tokens: 'kept',
  user_countries: 'kept',
  held_usernames: 'kept',
  api_keys: 'kept',
  clients: 'kept',
  linked_logins: 'kept',
  login_flows: 'passing',
  provider_logins: 'session',
  invitations: 'kept',
  limit_counters: 'passing',
  acme_accounts: 'kept',
  acme_certificates: 'kept',
  acme_challenges: 'passing',
  // the steps of the schema write it
  schema_minimum: 'passing',
}

const namesOf = (...rules: Rule[]): string[] => Object.entries(RULES).flatMap(([name, rule]) => (rules.includes(rule) ? [name] : []))

export const BACKED_UP: readonly string[] = namesOf('kept', 'session')
export const OF_SESSIONS: ReadonlySet<string> = new Set(namesOf('session'))
/** Tables whose rows make a database one that is in use. */
export const WITH_DATA: readonly string[] = Object.keys(RULES).filter((name) => name !== 'schema_minimum')

/** Transaction ids belong to one server. The server that gets the rows writes its own. */
export const OWN_OF_THE_SERVER = 'xid'
