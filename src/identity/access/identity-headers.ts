import type { Config } from '../../platform/config/schema.ts'

export interface Identity {
  id: string
  email: string | null
  isEmailVerified: boolean
  roles: readonly string[]
  /** Null: a key or a machine has none. */
  sessionId: string | null
}

/** What upstreams are told of a caller: lower-case name, value, name, value …; what is empty is not told. */
export function createIdentityHeaders({ identity }: Config['headers']): (who: Identity) => string[] {
  const names = [identity.user, identity.email, identity.roles, identity.session].map((name) => name.toLowerCase())
  return ({ id, email, isEmailVerified, roles, sessionId }) => {
    const told = email !== null && (isEmailVerified || identity.unverifiedEmail) ? email : ''
    const values = [id, told, [...roles].sort().join(','), sessionId ?? '']
    return values.flatMap((value, i) => (value === '' ? [] : [names[i]!, encodeHeaderValue(value)]))
  }
}

/** Visible ASCII as it is; anything else, and `%` itself, percent-encoded UTF-8: a header has no other safe form. */
export const encodeHeaderValue = (value: string): string =>
  /^[\x21-\x24\x26-\x7e]*$/.test(value)
    ? value
    : value.replace(/[^\x21-\x24\x26-\x7e]+/g, (s) => encodeURIComponent(s.toWellFormed()).replaceAll("'", '%27'))
