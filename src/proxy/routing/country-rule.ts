import type { AccessConfig } from '../../platform/config/schema.ts'

/** The compiled `access.countries` of a route. */
export interface CountryRule {
  /** @param country two letters; null: unknown */
  permits(country: string | null): boolean
  /** Such as `from AT, DE`. */
  label: string
}

/** `deny` goes first; a list `allow` denies every other country. @returns null: any country */
export function compileCountries(access: AccessConfig): CountryRule | null {
  const rule = typeof access === 'string' ? undefined : access.countries
  if (rule === undefined) return null
  const [allowed, denied] = [rule.allow && new Set(rule.allow), new Set(rule.deny)]
  const admitsUnknown = (rule.unknown ?? (allowed ? 'deny' : 'allow')) === 'allow'
  const label = [
    rule.allow && `from ${rule.allow.join(', ')}`,
    rule.deny && `not from ${rule.deny.join(', ')}`,
    rule.unknown && `unknown: ${rule.unknown}`,
  ]
  return {
    label: label.filter(Boolean).join(', '),
    permits(country) {
      if (country === null) return admitsUnknown
      return !denied.has(country) && (allowed?.has(country) ?? true)
    },
  }
}
