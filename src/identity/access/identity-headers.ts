import type { Config } from '../../platform/config/schema.ts'
import type { ClaimValue, ClaimValues } from '../tokens/metadata-claims.ts'

export interface Identity {
  id: string
  email: string | null
  isEmailVerified: boolean
  roles: readonly string[]
  /** Null for API keys and machine clients, which have no session. */
  sessionId: string | null
  /** The claims of `tokens.claims`. */
  mapped: ClaimValues
}

type HeaderNames = Pick<Config, 'headers' | 'tokens'>

/** The names of all identity headers, as the configuration writes them. */
export function identityHeaderNames({ headers, tokens }: HeaderNames): string[] {
  const { user, email, roles, session } = headers.identity
  return [user, email, roles, session, ...tokens.claims.flatMap(({ header }) => header ?? [])]
}

/** Makes the headers that describe the caller to upstreams: lower-case name, value, name, value … Empty values have no header. */
export function createIdentityHeaders({ headers: { identity }, tokens }: HeaderNames): (caller: Identity) => string[] {
  const names = [identity.user, identity.email, identity.roles, identity.session].map((name) => name.toLowerCase())
  const mappings = tokens.claims.flatMap(({ claim, header }) => (header === undefined ? [] : [{ claim, name: header.toLowerCase() }]))
  return ({ id, email, isEmailVerified, roles, sessionId, mapped }) => {
    const shownEmail = email !== null && (isEmailVerified || identity.unverifiedEmail) ? email : ''
    const values = [id, shownEmail, [...roles].sort().join(','), sessionId ?? '']
    const headers = values.flatMap((value, i) => (value === '' ? [] : [names[i]!, encodeHeaderValue(value)]))
    for (const { claim, name } of mappings) {
      const value = Object.hasOwn(mapped, claim) ? claimText(mapped[claim]!) : ''
      if (value !== '') headers.push(name, value)
    }
    return headers
  }
}

/** The items of a list are joined by commas; a comma in an item is percent-encoded. */
const claimText = (value: ClaimValue): string =>
  Array.isArray(value) ? value.map((item) => encodeHeaderValue(item).replaceAll(',', '%2C')).join(',') : encodeHeaderValue(String(value))

/** Keeps visible ASCII. Percent-encodes `%` and the UTF-8 of all else, since a header has no other safe form. */
export const encodeHeaderValue = (value: string): string =>
  /^[\x21-\x24\x26-\x7e]*$/.test(value)
    ? value
    : value.replace(/[^\x21-\x24\x26-\x7e]+/g, (s) => encodeURIComponent(s.toWellFormed()).replaceAll("'", '%27'))
