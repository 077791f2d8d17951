/** Who a request is from, once that is proven. */
export interface Principal {
  kind: 'user'
  /** `sub`: a user's id. */
  id: string
  sessionId: string
  email: string | null
  roles: ReadonlySet<string>
  scopes: ReadonlySet<string>
  /** `users.token_epoch` at issue: older than the revocation map's entry is revoked. */
  epoch: number
  /** Seconds since the epoch, as in the token. */
  expiresAt: number
  mustChangePassword: boolean
  /** Name, value, name, value …: what the upstream is told. Made once for each token. */
  identityHeaders: readonly string[]
}
