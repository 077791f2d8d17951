import type { AccessConfig } from '../../platform/config/schema.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Principal } from './principal.ts'

/** The compiled access policy of a route. */
export interface Access {
  /** 0: public, 1: any authenticated caller, 2: a requirement. A lower rank admits more callers. */
  rank: 0 | 1 | 2
  permits(principal: Principal): boolean
  /** The session must have been opened with a second factor. */
  needsFactor: boolean
  /** A caller who authenticated earlier must authenticate again. Null: the age does not matter. */
  maxAuthAgeSeconds: number | null
  /** The scopes for `WWW-Authenticate` (RFC 6750 §3). Empty when no scope would admit the caller. */
  scopes: readonly string[]
  label: string
}

type Requirement = { roles?: string[]; scopes?: string[] }

/** A route that needs no credential. */
export const isPublicAccess = (config: AccessConfig): boolean =>
  config === 'public' || (typeof config === 'object' && config.public === true)

export function compileAccess(config: AccessConfig): Access {
  const unrestricted = { permits: () => true, needsFactor: false, maxAuthAgeSeconds: null, scopes: [] }
  if (isPublicAccess(config)) return { ...unrestricted, rank: 0, label: 'public' }
  // countries are a matter of the address, not of the principal
  const { countries: _, public: __, ...needed } = config === 'authenticated' ? {} : (config as Exclude<AccessConfig, string>)
  if (Object.keys(needed).length === 0) return { ...unrestricted, rank: 1, label: 'authenticated' }
  const { mfa = false, maxAuthAgeSeconds = null } = needed
  const own = requirement(needed)
  const any = needed.anyOf?.map(requirement)
  const all = needed.allOf?.map(requirement) ?? []
  return {
    rank: 2,
    permits: (p) => own(p) && (any?.some((holds) => holds(p)) ?? true) && all.every((holds) => holds(p)),
    needsFactor: mfa,
    maxAuthAgeSeconds,
    scopes: [needed, ...(needed.allOf ?? [])].flatMap((r) => r.scopes ?? []),
    label: [describe(needed), mfa && 'a second factor', maxAuthAgeSeconds !== null && `authenticated within ${maxAuthAgeSeconds} s`]
      .filter(Boolean)
      .join(' and '),
  }
}

/** The principal needs one of the roles, and all of the scopes. */
function requirement({ roles, scopes }: Requirement): (p: Principal) => boolean {
  return (p) => (!roles || roles.some((r) => p.roles.has(r))) && (!scopes || scopes.every((s) => p.scopes.has(s)))
}

function describe({ roles, scopes, anyOf, allOf }: Requirement & { anyOf?: Requirement[]; allOf?: Requirement[] }): string {
  const parts = [
    roles && `role ${roles.join(' or ')}`,
    scopes && `scope ${scopes.join(' and ')}`,
    anyOf && `(${anyOf.map(describe).join(' or ')})`,
    allOf && `(${allOf.map(describe).join(' and ')})`,
  ]
  return parts.filter(Boolean).join(' and ')
}

/** Applies the policy of a route to a principal. The last line denies. @param now milliseconds */
export function authorize(access: Access, principal: Principal | null, now: () => number): void {
  if (access.rank === 0 && principal === null) return
  if (principal === null) throw problem('token_missing')
  if (principal.mustChangePassword) throw problem('password_change_required')
  requireFactor(principal)
  if (!access.permits(principal)) throw insufficientScope(access.scopes, `needs ${access.label}`)
  if (access.needsFactor && !principal.hasFactor) throw problem('mfa_required')
  const { maxAuthAgeSeconds } = access
  if (maxAuthAgeSeconds === null || now() / 1000 - principal.authenticatedAt <= maxAuthAgeSeconds) return
  throw reauthenticationRequired(maxAuthAgeSeconds, principal)
}

/** RFC 9470 §3 */
export const reauthenticationRequired = (maxAgeSeconds: number, { authenticatedAt }: Principal): Problem =>
  problem('reauthentication_required', {
    cause: `authenticated at ${authenticatedAt}`,
    headers: { 'www-authenticate': `Bearer error="insufficient_user_authentication", max_age="${maxAgeSeconds}"` },
  })

/** @throws mfa_required when a role of the caller requires a second factor that was not used */
export function requireFactor({ owesFactor }: Principal): void {
  if (owesFactor) throw problem('mfa_required', { cause: 'a role requires a second factor' })
}

/** @throws forbidden */
export function requireRole({ roles }: Principal, role: string): void {
  if (!roles.has(role)) throw insufficientScope([], `needs role ${role}`)
}

/** RFC 6750 §3.1 */
function insufficientScope(scopes: readonly string[], cause: string): Problem {
  const scope = scopes.length ? `, scope="${scopes.join(' ')}"` : ''
  return problem('forbidden', { cause, headers: { 'www-authenticate': `Bearer error="insufficient_scope"${scope}` } })
}
