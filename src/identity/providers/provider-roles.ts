/** The roles that a provider decides about. Only what the configuration names is granted, so that no claim of a provider makes an administrator by itself. */
import type { ProviderConfig } from '../../platform/config/schema.ts'

/**
 * @param roles of the user
 * @param groups the values of the claim; null when the answer has none: then no role is granted
 * @returns the roles after this sign-in, sorted. Roles that no entry of the map names stay as they are
 */
export function rolesAfter(roles: readonly string[], rule: ProviderConfig['roles'], groups: readonly string[] | null): string[] {
  if (rule === undefined) return [...roles]
  const decided = new Set(Object.values(rule.map).flat())
  const granted = (groups ?? []).flatMap((group) => (Object.hasOwn(rule.map, group) ? rule.map[group]! : []))
  return [...new Set([...roles.filter((role) => !decided.has(role)), ...granted])].sort()
}
