/** Log in to a Portcullis gateway and call the APIs behind it, from browsers and from Node 20 or newer. */

export interface ClientOptions {
  /** The origin of the gateway, such as `https://api.example.com`. Default in a browser: the origin of the page. */
  baseUrl?: string
  /** `auth.prefix` of the gateway. Default: `/auth`. */
  prefix?: string
  /**
   * `cookie`: the browser keeps the session in a cookie that no script can read. For pages of the same site as the gateway.
   * `token`: access and refresh token in memory, shared by the tabs of one origin. For other sites and for Node.
   * Default: `cookie` in a browser, `token` elsewhere.
   */
  mode?: 'cookie' | 'token'
  /** Sends every request. Default: the global `fetch`. */
  fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>
  /**
   * Token mode only. Keeps the refresh token, so that a login outlives the page or the process: `sessionStorage`, a file, a keychain.
   * Every script of the page can read `sessionStorage`. Default: none.
   */
  storage?: ClientStorage
  /** The longest `Retry-After` that is waited for. A longer wait is left to the caller. Default: 10. */
  maxRetryAfterSeconds?: number
}

export interface ClientStorage {
  getItem(key: string): string | null | Promise<string | null>
  setItem(key: string, value: string): unknown
  removeItem(key: string): unknown
}

export interface User {
  id: string
  username: string
  email: string
  email_verified: boolean
  roles: string[]
  mfa_enabled: boolean
  password_must_change: boolean
  created_at: string
  last_login_at: string | null
}

export interface LoggedIn {
  user: User
  /** Send it with later logins from this device. The user then gets no mail about a new device. */
  device_token?: string
}

/** The user has a second factor: ask for a code, then call `loginMfa`. */
export interface MfaRequired {
  mfa_required: true
  mfa_token: string
  methods: string[]
}

export interface Session {
  user: User
  /** In cookie mode. */
  session?: { id: string; amr: string[]; expires_at: string }
}

/** `loggedin` and `loggedout` come in every tab of the origin. */
export type ClientEvent = 'loggedin' | 'loggedout'

export interface Client {
  /**
   * @param input `login`: e-mail address or username. `remember` (cookie mode): the login outlives the browser. `proof_of_work`: the solution
   * of a challenge, where the gateway answers 403 `proof_of_work_required`
   */
  login(input: {
    login: string
    password: string
    remember?: boolean
    device_token?: string
    proof_of_work?: string
  }): Promise<LoggedIn | MfaRequired>
  loginMfa(input: { mfa_token: string; code: string; remember?: boolean; device_token?: string }): Promise<LoggedIn>
  /** `status: 'pending'`: the gateway mailed a link, and the user logs in after opening the link. */
  register(input: { username?: string; email: string; password: string; proof_of_work?: string }): Promise<LoggedIn | { status: 'pending' }>
  /** Shows again who the user is, where a route answers 401 `reauthentication_required`. */
  reauthenticate(input: { password: string; code?: string }): Promise<LoggedIn>
  changePassword(input: { current_password: string; new_password: string }): Promise<unknown>
  /** Ends the session, in all tabs. In token mode the tokens are forgotten even when the gateway cannot be reached. */
  logout(): Promise<void>
  /** The logged-in user, or null. */
  session(): Promise<Session | null>
  /**
   * `fetch` with the credential of the session. A path is read below `baseUrl`; another origin is refused with a TypeError.
   * A refused token is refreshed and the request sent again, once. `Retry-After` of 429 and 503 is obeyed for idempotent methods.
   * A request whose body is a stream is never sent again.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>
  /** A WebSocket with the credential of the session. Node 20 has no global `WebSocket`: set one before. */
  webSocket(url: string | URL, protocols?: string | string[]): Promise<WebSocket>
  /** The page for the login, which leads back to `returnTo`. Default in a browser: the current page. */
  loginUrl(returnTo?: string): string
  addEventListener(type: ClientEvent, listener: (event: Event) => void, options?: AddEventListenerOptions | boolean): void
  removeEventListener(type: ClientEvent, listener: (event: Event) => void): void
  /** Ends the exchange with other tabs. */
  close(): void
}

export function createClient(options?: ClientOptions): Client

/** Problem details (RFC 9457) of an answer that is no success. */
export class PortcullisError extends Error {
  /** Such as `invalid_credentials`. Stable: programs may compare it. */
  readonly code: string
  readonly status: number
  readonly detail: string
  readonly errors: { field: string; code: string; detail: string }[]
  readonly requestId: string | undefined
  readonly retryAfterSeconds: number | undefined
}
