/** What every kind of provider can do. */
import type { ProviderConfig } from '../../platform/config/schema.ts'

/** The issuers of providers that need none in the configuration. */
export const APPLE = 'https://appleid.apple.com'
export const GITHUB = 'https://github.com'

/** A provider that users sign in with. */
export interface Provider {
  id: string
  kind: ProviderConfig['kind']
  /** On buttons, such as `Google`. */
  label: string
  /** Together with `sub` it names a person for ever. */
  issuer: string
  /** The answer comes as a form that the browser posts (OAuth 2.0 Form Post Response Mode). */
  isFormPost: boolean
  /** It can ask the user again, and says when the user last authenticated: `max_age` and `auth_time` of OpenID Connect. */
  provesFreshness: boolean
  settings: ProviderConfig
  /** @returns where the browser goes. @throws provider_unavailable */
  begin(outward: Outward): Promise<URL>
  /**
   * Exchanges the code of an answer.
   * @param answer the parameters that the browser brought back
   * @throws provider_refused, provider_unavailable
   */
  finish(answer: URLSearchParams, expected: Expected): Promise<ProvenLogin>
  /** @returns where the browser logs out at the provider; null where the provider has no such page, or does not answer */
  logoutUrl(idToken: string | null, returnUrl: string): Promise<URL | null>
  /** Reads a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). @throws logout_token_invalid, provider_unavailable */
  readLogoutToken(token: string): Promise<LogoutToken>
}

/** What is derived for one sign-in, and known to nobody but the gateway and the browser. */
export interface Expected {
  redirectUri: string
  state: string
  nonce: string
  /** RFC 7636 */
  codeVerifier: string
  /** The user must have authenticated after this time: milliseconds. Null: whenever. */
  notBefore: number | null
}

export interface Outward extends Expected {
  /** The provider asks for the credential even if the user is logged in there. */
  mustAsk: boolean
}

/** What a provider says of a person, verified. */
export interface ProvenLogin {
  /** `sub` */
  subject: string
  /** Null: the provider gave no address of the usual form. */
  email: string | null
  /** The provider says that the address is the person's. Whether it is believed: see `email-trust.ts`. */
  isEmailVerified: boolean
  /** A name that the person may like as username. */
  nickname: string | null
  /** The values of the claim that `roles.claim` names. Null: the answer has no such claim. */
  groups: readonly string[] | null
  /** `sid`: the session at the provider. */
  sid: string | null
  idToken: string | null
  /** `auth_time`: when the person showed a credential to the provider. Null: it does not say so. */
  authTime: Date | null
}

export interface LogoutToken {
  subject: string | null
  sid: string | null
  jti: string
  /** When the token need not be remembered any more. */
  expiresAt: Date
}
