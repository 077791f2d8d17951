import type { Config } from '../../platform/config/schema.ts'

export interface Identity {
  id: string
  email: string | null
  isEmailVerified: boolean
  roles: readonly string[]
  /** Null for API keys and machine clients, which have no session. */
  sessionId: string | null
}

/** Makes the headers that describe the caller to upstreams: lower-case name, value, name, value … Empty values have no header. */
export function createIdentityHeaders({ identity }: Config['headers']): (caller: Identity) => string[] {
  const names = [identity.user, identity.email, identity.roles, identity.session].map((name) => name.toLowerCase())
  return ({ id, email, isEmailVerified, roles, sessionId }) => {
    const shownEmail = email !== null && (isEmailVerified || identity.unverifiedEmail) ? email : ''
    const values = [id, shownEmail, [...roles].sort().join(','), sessionId ?? '']
    return values.flatMap((value, i) => (value === '' ? [] : [names[i]!, encodeHeaderValue(value)]))
  }
}

/** Keeps visible ASCII. Percent-encodes `%` and the UTF-8 of all else, since a header has no other safe form. */
export const encodeHeaderValue = (value: string): string =>
  /^[\x21-\x24\x26-\x7e]*$/.test(value)
    ? value
    : value.replace(/[^\x21-\x24\x26-\x7e]+/g, (s) => encodeURIComponent(s.toWellFormed()).replaceAll("'", '%27'))
