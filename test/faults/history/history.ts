/** What clients did and saw during faults: the input of the judge. All times are milliseconds of one steady clock. */

/** `unknown`: no answer came, or an answer that does not say what happened (5xx). The operation may take effect at any time, or never. */
export type Outcome<T = null> = { kind: 'ok'; value: T } | { kind: 'refused'; code: string } | { kind: 'unknown'; why: string }

/** What a response with tokens holds. */
export interface Issued {
  session: string
  /** Refresh tokens and access tokens are named by a hash or an id: no token is in a history. */
  refreshToken: string
  accessToken: string
  roles: readonly string[]
}

interface Timed {
  invokedAt: number
  /** For `unknown` the time when the client gave up. */
  answeredAt: number
}

export type Operation = Timed &
  (
    | { kind: 'login'; user: string; password: string; outcome: Outcome<Issued> }
    | { kind: 'refresh'; user: string; session: string; token: string; outcome: Outcome<Issued> }
    | { kind: 'logout'; user: string; session: string; outcome: Outcome }
    | { kind: 'logoutAll'; user: string; outcome: Outcome }
    /** It ends the other sessions, and returns a pair of a new session. */
    | { kind: 'passwordChange'; user: string; from: string; to: string; outcome: Outcome<Issued> }
    | { kind: 'grant' | 'revoke'; user: string; role: string; outcome: Outcome }
    /** A request with an access token at a protected route. */
    | { kind: 'use'; user: string; session: string; token: Issued; gateway: string; outcome: Outcome }
  )

export type OperationOf<K extends Operation['kind']> = Extract<Operation, { kind: K }>

/** From `from` to `to` this gateway could not read the database. Without a gateway: no gateway could. */
export interface BlindTime {
  gateway?: string
  from: number
  to: number
}

export interface History {
  operations: readonly Operation[]
  blindTimes: readonly BlindTime[]
}

export interface Bounds {
  /** A revocation is in force at every gateway this long after its answer, or after the gateway can read the database again. */
  revocationMs: number
  accessTtlMs: number
  /** `auth.refresh.graceSeconds` */
  graceMs: number
}
