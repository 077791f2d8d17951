import type { ExternalBlocks } from '../issuers/external-tokens.ts'

/** The authenticated caller of a request. */
export interface Principal {
  /** The kind of credential: the session of a user, the API key of a user, the token of a machine client, or the token of another issuer. */
  kind: 'user' | 'apiKey' | 'client' | 'external'
  /** `sub`: the id of the user or of the machine client. Of another issuer `ext:<id of the issuer>:<sub>`, which no id of ours can be. */
  id: string
  /** The id whose revocation ends the credential: of a session, of an API key, or of one token of a machine client. Empty for another issuer. */
  sessionId: string
  /** What ends a token of another issuer. Null for every other credential. */
  external: ExternalBlocks | null
  /** The id of the cookie's value. Null for every other credential. */
  cookieId: string | null
  email: string | null
  roles: ReadonlySet<string>
  scopes: ReadonlySet<string>
  /** The key of this gateway that signed the token. Null for an API key, a session cookie, and a token of another issuer. */
  signingKid: string | null
  /** `users.token_epoch` at issue. The credential is revoked when the revocation map holds a higher epoch. */
  epoch: number
  /** Seconds since the epoch, as in the token. An API key or a session cookie is judged again then. */
  expiresAt: number
  mustChangePassword: boolean
  /** The user authenticated with a second factor. */
  hasFactor: boolean
  /** A role requires a second factor, and none was used. */
  owesFactor: boolean
  /** When the user last authenticated, in seconds since the epoch. 0 for all but users. */
  authenticatedAt: number
  /** The headers for the upstream: name, value, name, value … Made once for each token. */
  identityHeaders: readonly string[]
}
