import type { AccessConfig } from '../config/schema.ts'
import { problem } from '../errors.ts'
import type { Principal } from './principal.ts'

/** A route's policy, compiled. `rank`: 0 public, 1 any user, 2 a requirement; a lower one is laxer. */
export interface Access {
  rank: 0 | 1 | 2
  permits(principal: Principal): boolean
  /** For `WWW-Authenticate: … scope=` (RFC 6750 §3); empty when no scope would help. */
  scopes: readonly string[]
  label: string
}

type Requirement = { roles?: string[]; scopes?: string[] }

export function compileAccess(config: AccessConfig): Access {
  if (config === 'public') return { rank: 0, permits: () => true, scopes: [], label: 'public' }
  if (config === 'authenticated') return { rank: 1, permits: () => true, scopes: [], label: 'authenticated' }
  const own = requirement(config)
  const any = config.anyOf?.map(requirement)
  const all = config.allOf?.map(requirement) ?? []
  return {
    rank: 2,
    permits: (p) => own(p) && (any?.some((holds) => holds(p)) ?? true) && all.every((holds) => holds(p)),
    scopes: [config, ...(config.allOf ?? [])].flatMap((r) => r.scopes ?? []),
    label: describe(config),
  }
}

/** Any one of the roles, and all of the scopes. */
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

/** The route's policy × the principal. The last line denies. */
export function authorize(access: Access, principal: Principal | null): void {
  if (access.rank === 0 && principal === null) return
  if (principal?.mustChangePassword) throw problem('password_change_required')
  if (principal !== null && access.permits(principal)) return
  if (principal === null) throw problem('token_missing')
  const scope = access.scopes.length ? `, scope="${access.scopes.join(' ')}"` : ''
  throw problem('forbidden', {
    cause: `needs ${access.label}`,
    headers: { 'www-authenticate': `Bearer error="insufficient_scope"${scope}` },
  })
}
