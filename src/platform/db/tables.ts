/** The tables as they stand after the newest migration. */
import type { Generated } from 'kysely'

export interface UserTable {
  id: string
  username: string
  email: string
  email_canonical: string
  email_verified_at: Date | null
  password_hash: string
  password_must_change: Generated<boolean>
  roles: string[]
  /** Rises with any change that older access tokens must not survive. */
  token_epoch: Generated<number>
  /** Rises when every session ends: a login that began before must not open one after. */
  session_epoch: Generated<number>
  disabled_at: Date | null
  created_at: Generated<Date>
  last_login_at: Date | null
  /** There is a confirmed factor. */
  mfa_enabled: Generated<boolean>
  /** How often an operator has unlocked the account: limits begin anew with each. */
  unlocks: Generated<number>
}

export interface SessionTable {
  id: string
  user_id: string
  amr: string[]
  ip: string | null
  user_agent: string | null
  auth_time: Date
  last_used_at: Date
  expires_at: Date
  revoked_at: Date | null
  revoke_reason: string | null
  created_at: Date
  device_id: string | null
}

export interface RefreshTokenTable {
  id: string
  session_id: string
  token_hash: Buffer
  parent_id: string | null
  created_at: Date
  expires_at: Date
  rotated_at: Date | null
  retry_nonce: Buffer | null
  retry_key_id: string | null
}

export interface SigningKeyTable {
  kid: string
  algorithm: string
  state: 'next' | 'current' | 'retired'
  public_jwk: string
  public_mac: string
  private_sealed: string
  created_at: Generated<Date>
  activates_at: Date
  retired_at: Date | null
}

export interface TotpFactorTable {
  id: string
  user_id: string
  secret_sealed: string
  /** Of the newest code that was accepted: neither it nor an older one is accepted again. */
  last_step: Generated<number>
  created_at: Date
  confirmed_at: Date | null
}

export interface BackupCodeTable {
  id: string
  user_id: string
  code_mac: string
  used_at: Date | null
}

export interface LinkTable {
  id: string
  user_id: string
  purpose: 'reset_password' | 'verify_email'
  token_hash: Buffer
  /** To which it was sent, and which it proves. */
  email: string
  /** Of its user when it was made: a link from before a password change is dead. */
  session_epoch: number
  created_at: Date
  expires_at: Date
}

export interface PendingRegistrationTable {
  id: string
  username: string
  email: string
  email_canonical: string
  /** Null when the address belonged to somebody already: the row only keeps the name. */
  password_hash: string | null
  token_hash: Buffer
  created_at: Date
  expires_at: Date
}

export interface OutboxTable {
  id: string
  /** Two mails under one key are one mail. */
  key: string
  user_id: string | null
  template: string
  /** Null once it was sent or given up. */
  payload_sealed: string | null
  attempts: Generated<number>
  created_at: Generated<Date>
  next_attempt_at: Generated<Date>
  /** Later it is of no use to anybody. */
  expires_at: Date
  sent_at: Date | null
  failed_at: Date | null
  last_error: string | null
}

export interface DeviceTable {
  id: string
  user_id: string
  token_hash: Buffer
  /** Of the address that it was last seen at: /24, or /64. */
  network: string | null
  user_agent: string | null
  first_seen_at: Date
  last_seen_at: Date
}

export interface ApiKeyTable {
  id: string
  user_id: string
  name: string
  /** Its first characters: enough to know it again. */
  hint: string
  key_hash: Buffer
  roles: string[]
  scopes: string[]
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  revoked_at: Date | null
}

export interface ClientTable {
  id: string
  name: string
  secret_hash: Buffer | null
  /** RFC 7517 §5: public keys, as JSON. */
  jwks: string | null
  roles: string[]
  scopes: string[]
  token_epoch: Generated<number>
  created_at: Date
  disabled_at: Date | null
  last_used_at: Date | null
}

export interface AuditLogTable {
  id: string
  at: Date
  event: string
  outcome: string
  user_id: string | null
  session_id: string | null
  actor: string | null
  detail: string | null
  request_id: string | null
  /** Salted hash of what lies beside it in `audit_personal`; null when there is nothing. */
  personal: string | null
  /** Null in rows from before there were any. */
  mac: string | null
  xid: Generated<string>
  /** Null until it is sealed. */
  batch: number | null
}

export interface AuditBatchTable {
  /** From 1, without a gap. */
  number: number
  /** Head of the batch before; null in the first one. */
  previous: string | null
  sealed_at: Date
  /** Rows in it. */
  size: number
  /** RFC 6962 §2.1 tree hash of its rows. */
  root: string
  /** Its rows are from before rows had MACs. */
  is_adopted: boolean
  /** Batches up to this one were removed because they were old; 0: none. */
  removed_through: number
  /** Hash of all of the above. */
  head: string
  mac: string
}

export interface Database {
  users: UserTable
  sessions: SessionTable
  refresh_tokens: RefreshTokenTable
  signing_keys: SigningKeyTable
  secret_canary: { only_row: Generated<boolean>; sealed: string }
  revocations: {
    id: string
    xid: Generated<string>
    session_id: string | null
    user_id: string | null
    min_epoch: number | null
    expires_at: Date
  }
  audit_log: AuditLogTable
  audit_personal: { event_id: string; salt: string; ip: string | null; user_agent: string | null }
  audit_batches: AuditBatchTable
  totp_factors: TotpFactorTable
  backup_codes: BackupCodeTable
  used_tokens: { issuer: string; jti: string; expires_at: Date }
  links: LinkTable
  pending_registrations: PendingRegistrationTable
  outbox: OutboxTable
  devices: DeviceTable
  api_keys: ApiKeyTable
  clients: ClientTable
  limit_counters: { key: string; count: number; resets_at: Date }
}
