/** Requirements of routes, compared with the roles that are defined. */
import { compileAccess } from '../../identity/access/access-policy.ts'
import { createRoles, knownRoles } from '../../identity/users/roles.ts'
import type { AccessConfig, Config } from '../../platform/config/schema.ts'
import { admits, createCompareAccess } from './compare-access.ts'
import type { Finding } from './finding.ts'

export function checkRoles(config: Config, warnings: Finding[], notes: Finding[]): void {
  const { everyRole } = createCompareAccess(config)
  const grantsOf = createRoles(config.auth.roles)
  const known = knownRoles(config.auth.roles)
  config.routes.forEach(({ access }, i) => {
    if (typeof access !== 'object') return
    const path = ['routes', i, 'access']
    const requirements = [access, ...(access.anyOf ?? []), ...(access.allOf ?? [])]
    for (const { roles = [] } of requirements)
      for (const role of roles) {
        const contained = roles.find((other) => other !== role && grantsOf([role]).roles.includes(other))
        if (contained !== undefined)
          notes.push({
            rule: 'role-contained',
            path,
            message: `role ${role} contains role ${contained}, so that ${contained} alone requires the same`,
            hint: `remove ${role} here`,
          })
      }
    // an unknown role has a warning of its own
    if (requirements.some(({ roles = [] }) => roles.some((role) => !known.includes(role)))) return
    if (admits(compileAccess(access), everyRole)) return
    // an operator gives a machine client scopes of its own, but never a second factor
    if (access.mfa) warnings.push({ rule: 'access-unreachable', path, ...whyNoUser(access, everyRole.scopes, 'nobody passes') })
    else notes.push({ rule: 'access-machines-only', path, ...whyNoUser(access, everyRole.scopes, 'only machine clients pass') })
  })
}

function whyNoUser(access: Exclude<AccessConfig, string>, granted: readonly string[], who: string): Pick<Finding, 'message' | 'hint'> {
  const wanted = [access, ...(access.anyOf ?? []), ...(access.allOf ?? [])].flatMap(({ scopes = [] }) => scopes)
  const missing = [...new Set(wanted)].filter((scope) => !granted.includes(scope))
  return {
    message: `${who}: no role grants the scope${missing.length > 1 ? 's' : ''} ${missing.join(' and ')}`,
    hint: 'add the scope to a role in auth.roles, or correct it here',
  }
}
