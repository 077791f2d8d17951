/** Who a request is from, once that is proven. */
export interface Principal {
  /** By what it came: a person's session, a person's API key, or the token of a machine client. */
  kind: 'user' | 'apiKey' | 'client'
  /** `sub`: a user's id; of a machine, its client's. */
  id: string
  /** What is revoked to end it: a session, an API key, one token of a client. */
  sessionId: string
  email: string | null
  roles: ReadonlySet<string>
  scopes: ReadonlySet<string>
  /** `users.token_epoch` at issue: older than the revocation map's entry is revoked. */
  epoch: number
  /** Seconds since the epoch, as in the token. */
  expiresAt: number
  mustChangePassword: boolean
  /** A second factor was shown when the session began. */
  hasFactor: boolean
  /** One of its roles demands a factor, and none was shown. */
  owesFactor: boolean
  /** When somebody last authenticated for it, in seconds since the epoch; 0 for keys and machines: nobody did. */
  authenticatedAt: number
  /** Name, value, name, value …: what the upstream is told. Made once for each token. */
  identityHeaders: readonly string[]
}
