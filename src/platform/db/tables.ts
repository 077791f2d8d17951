/** The tables after the newest migration. */
import type { Generated } from 'kysely'

/** Facts about a user that other programs need. The user may read `public`, and never `admin`. */
export interface Metadata {
  public?: Record<string, unknown>
  admin?: Record<string, unknown>
}

export interface UserTable {
  id: string
  /** Null for an account whose user logs in by e-mail address alone. */
  username: string | null
  email: string
  email_canonical: string
  email_verified_at: Date | null
  /** An operator gave the address: it counts as proven, although no link was opened. */
  is_email_vouched: Generated<boolean>
  password_hash: string
  password_must_change: Generated<boolean>
  roles: string[]
  /** Rises with every change that makes older access tokens invalid. */
  token_epoch: Generated<number>
  /** Rises when all sessions are ended: a login that began earlier must not open a session afterwards. */
  session_epoch: Generated<number>
  disabled_at: Date | null
  created_at: Generated<Date>
  last_login_at: Date | null
  /** Whether a confirmed second factor exists. */
  mfa_enabled: Generated<boolean>
  /** How often an operator has unlocked the account. Each unlock starts its limits anew. */
  unlocks: Generated<number>
  /** An administrator removed the second factor: the next login needs a mailed link as well. */
  must_confirm_login: Generated<boolean>
  metadata: Generated<Metadata>
  /** Of mails. Null: unknown. */
  language: Generated<string | null>
  /** The id of the user for authenticators: random. Null before the first passkey. */
  passkey_handle: Generated<Buffer | null>
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
  /** Of the address at the login: two letters of ISO 3166-1. Null: unknown. */
  country: string | null
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

/** One value of a session cookie. */
export interface SessionCookieTable {
  id: string
  session_id: string
  /** The console has cookies of its own. */
  purpose: 'browser' | 'console'
  token_hash: Buffer
  /** What the holder of this value has shown. A later value of the same session may have shown more. */
  amr: string[]
  auth_time: Date
  /** The browser keeps the cookie when it is closed. */
  is_persistent: boolean
  created_at: Date
  /** When another value replaced this value. */
  superseded_at: Date | null
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
  /** The longest lifetime of an access token that the key may have signed. Null for a key from before this column. */
  lifetime_seconds: number | null
}

export interface TotpFactorTable {
  id: string
  user_id: string
  secret_sealed: string
  /** RFC 6238 time step of the newest accepted code. Only codes of later steps are accepted. */
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

/** WebAuthn L3 §4: a credential record. */
export interface PasskeyTable {
  id: string
  user_id: string
  credential_id: Buffer
  /** A COSE key. */
  public_key: Buffer
  /** It works for this RP ID alone. */
  rp_id: string
  /** The newest count of the authenticator's signatures; 0 where it does not count. */
  sign_count: string
  transports: string[]
  /** It may be copied to other devices. This never changes. */
  is_backup_eligible: boolean
  is_backed_up: boolean
  /** Chosen by the user. */
  name: string
  created_at: Date
  last_used_at: Date | null
}

/** The key of the MACs of backup codes. A user without a row: the seed of the authenticator app. */
export interface BackupCodeKeyTable {
  id: string
  user_id: string
  secret_sealed: string
}

/** A login by a mailed code or link that is under way. */
export interface EmailLoginTable {
  id: string
  user_id: string
  /** Of the token that only the asking browser or app has. */
  flow_hash: Buffer
  code_mac: string
  /** Null: there is no page that a link could lead to. */
  link_hash: Buffer | null
  /** The address that got the mail. */
  email: string
  session_epoch: number
  /** A known device of the user has asked. Strangers do not end its flows. */
  is_known: boolean
  /** The device that asked: a name of the fixed list. */
  device: string | null
  created_at: Date
  expires_at: Date
}

export interface LinkTable {
  id: string
  user_id: string
  purpose: 'reset_password' | 'verify_email' | 'confirm_login'
  token_hash: Buffer
  /** The address that the link was sent to, and that it proves. */
  email: string
  /** The user's `session_epoch` when the link was made: a password change invalidates earlier links. */
  session_epoch: number
  /** The session that asked for the link. It may use the link without the password. */
  session_id: string | null
  /** The device that asked: a name of a fixed list, never text of the client. */
  device: string | null
  /** The country that the link confirms for logins; ZZ: an unknown country. Null: none. */
  country: string | null
  created_at: Date
  expires_at: Date
}

export interface PendingRegistrationTable {
  id: string
  username: string | null
  email: string
  email_canonical: string
  /** Null when the address already has an account: the row only reserves the username. */
  password_hash: string | null
  /** The device that registered: a name of a fixed list, never text of the client. */
  device: string | null
  /** The network that registered. No network fills the places of an address alone. */
  network: string | null
  created_at: Date
  expires_at: Date
}

export interface PendingLinkTable {
  token_hash: Buffer
  pending_id: string
  created_at: Date
  expires_at: Date
}

export interface OutboxTable {
  id: string
  /** Only one mail with the same key is sent. */
  key: string
  user_id: string | null
  template: string
  /** Null after the mail was sent or given up. */
  payload_sealed: string | null
  attempts: Generated<number>
  created_at: Generated<Date>
  next_attempt_at: Generated<Date>
  /** After this time the mail is not sent. */
  expires_at: Date
  sent_at: Date | null
  failed_at: Date | null
  last_error: string | null
}

export interface DeviceTable {
  id: string
  user_id: string
  /** The network of the device's last address: /24 for IPv4, /64 for IPv6. */
  network: string | null
  user_agent: string | null
  first_seen_at: Date
  last_seen_at: Date
}

export interface DeviceTokenTable {
  token_hash: Buffer
  device_id: string
  created_at: Date
  /** When a login last presented the token. Null before. */
  presented_at: Date | null
}

/** The countries that a user has logged in from: two letters of ISO 3166-1. ZZ: a login from an unknown country was confirmed. */
export interface UserCountryTable {
  user_id: string
  country: string
  seen_at: Date
}

/** The networks that a device was seen in. */
export interface DeviceNetworkTable {
  device_id: string
  network: string
  last_seen_at: Date
}

/** A username that was given up. */
export interface HeldUsernameTable {
  /** SHA-256 of the name. */
  name_hash: Buffer
  user_id: string
  held_until: Date
}

export interface ApiKeyTable {
  id: string
  user_id: string
  name: string
  /** The first characters of the key, so that its user recognizes it. */
  hint: string
  key_hash: Buffer
  roles: string[]
  scopes: string[]
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  revoked_at: Date | null
  /** The session that made the key, or its successor. Null: made before this column. The session may be deleted since. */
  session_id: string | null
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

/** A login at a provider that belongs to a user. */
export interface LinkedLoginTable {
  id: string
  user_id: string
  /** The id of the provider in the configuration, when it was linked. */
  provider: string
  issuer: string
  /** `sub`: never changes, and is never given to another person. */
  subject: string
  /** As the provider named it last. Shown to the user, and used for nothing else. */
  email: string | null
  created_at: Date
  last_used_at: Date
}

/** A sign-in on its way through a provider. */
export interface LoginFlowTable {
  state_hash: Buffer
  /** Of the value that the browser keeps: nobody else can bring the answer. */
  cookie_hash: Buffer
  provider: string
  intent: 'login' | 'link' | 'reauthenticate'
  /** Who has begun it; null for a login. */
  user_id: string | null
  session_id: string | null
  /** SHA-256 of the token of an invitation. */
  invitation: Buffer | null
  return_to: string | null
  is_persistent: boolean
  /** The answer of the provider, until the browser comes back with its session. */
  answer_sealed: string | null
  created_at: Date
  expires_at: Date
}

/** A sign-in that the provider has confirmed. */
export interface ProviderLoginTable {
  id: string
  linked_login_id: string
  /** Null until the second factor is shown. */
  session_id: string | null
  /** The session at the provider (OpenID Connect Back-Channel Logout). */
  provider_sid: string | null
  /** For the logout at the provider. */
  id_token_sealed: string | null
  created_at: Date
}

export interface InvitationTable {
  id: string
  email: string
  email_canonical: string
  roles: string[]
  token_hash: Buffer
  /** Null: the command line, or a user who was deleted since. */
  invited_by: string | null
  created_at: Date
  expires_at: Date
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
  /** Salted hash of the row's personal data in `audit_personal`; null without personal data. */
  personal: string | null
  /** Null in rows from before rows had MACs. */
  mac: string | null
  xid: Generated<string>
  /** Null until the row is sealed. */
  batch: number | null
}

export interface AuditBatchTable {
  /** From 1, without gaps. */
  number: number
  /** Head of the previous batch; null in the first batch. */
  previous: string | null
  sealed_at: Date
  /** Number of rows. */
  size: number
  /** RFC 6962 §2.1 tree hash of the rows. */
  root: string
  /** The rows are from before rows had MACs. */
  is_adopted: boolean
  /** Retention has removed the batches up to this number; 0: none. */
  removed_through: number
  /** Hash of all columns above. */
  head: string
  mac: string
}

/** A certificate that an ACME server issues for these names, and the state of its orders. */
export interface AcmeCertificateTable {
  directory_url: string
  /** Sorted, joined by commas. */
  names: string
  /** PEM, leaf first. Null before the first order has succeeded, like all columns of the certificate. */
  chain: string | null
  key_sealed: string | null
  not_before: Date | null
  not_after: Date | null
  issued_at: Date | null
  /** Orders that failed since the last success. */
  failures: Generated<number>
  last_outcome: string | null
  /** No order is made before. Null: at once when it is due. */
  retry_at: Date | null
}

/** A challenge that every gateway answers until the ACME server has judged it. */
export interface AcmeChallengeTable {
  token: string
  kind: 'http-01' | 'tls-alpn-01'
  domain: string
  key_authorization: string
  /** Of tls-alpn-01: the certificate with its private key, PEM. */
  certificate_sealed: string | null
  expires_at: Date
}

export interface Database {
  users: UserTable
  sessions: SessionTable
  refresh_tokens: RefreshTokenTable
  session_cookies: SessionCookieTable
  signing_keys: SigningKeyTable
  secret_canary: { only_row: Generated<boolean>; sealed: string }
  revocations: {
    id: string
    xid: Generated<string>
    session_id: string | null
    user_id: string | null
    min_epoch: number | null
    kid: string | null
    block_key: string | null
    /** Milliseconds since the epoch. */
    version: string | number | null
    is_lifted: boolean | null
    expires_at: Date
  }
  audit_log: AuditLogTable
  audit_personal: { event_id: string; salt: string; ip: string | null; user_agent: string | null }
  audit_batches: AuditBatchTable
  totp_factors: TotpFactorTable
  backup_codes: BackupCodeTable
  backup_code_keys: BackupCodeKeyTable
  passkeys: PasskeyTable
  email_logins: EmailLoginTable
  used_tokens: { issuer: string; jti: string; expires_at: Date }
  links: LinkTable
  pending_registrations: PendingRegistrationTable
  pending_links: PendingLinkTable
  outbox: OutboxTable
  devices: DeviceTable
  device_networks: DeviceNetworkTable
  device_tokens: DeviceTokenTable
  user_countries: UserCountryTable
  held_usernames: HeldUsernameTable
  api_keys: ApiKeyTable
  clients: ClientTable
  linked_logins: LinkedLoginTable
  login_flows: LoginFlowTable
  provider_logins: ProviderLoginTable
  invitations: InvitationTable
  limit_counters: { key: string; count: number; resets_at: Date }
  acme_accounts: { directory_url: string; key_sealed: string; created_at: Date }
  acme_certificates: AcmeCertificateTable
  acme_challenges: AcmeChallengeTable
  schema_minimum: { only_row: Generated<boolean>; step: string }
}
