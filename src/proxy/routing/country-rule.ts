import type { AccessConfig } from '../../platform/config/schema.ts'

/** The compiled `access.countries` of a route. */
export interface CountryRule {
  /** @param country two letters; null: unknown */
  permits(country: string | null): boolean
  /** Such as `from AT, DE`. */
  label: string
  /** The countries that it names. It treats all others alike. */
  named: readonly string[]
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
    named: [...(rule.allow ?? []), ...(rule.deny ?? [])],
    permits(country) {
      if (country === null) return admitsUnknown
      return !denied.has(country) && (allowed?.has(country) ?? true)
    },
  }
}

/** The code of no country: it stands for all that no rule names. */
const ANY_OTHER = ''

/** Clients whom the first rule admits, and the second does not, in words. Null: there are none. @param lax null: any country */
export function laxerCountries(lax: CountryRule | null, strict: CountryRule | null): string | null {
  if (strict === null) return null
  const groups = [...new Set([...(lax?.named ?? []), ...strict.named]), ANY_OTHER, null]
  const passes = groups.filter((country) => (lax?.permits(country) ?? true) && !strict.permits(country))
  const codes = passes.filter((country) => country)
  const others = passes.includes(ANY_OTHER) && (codes.length > 0 ? 'others' : `countries other than ${strict.named.join(', ')}`)
  const places = [codes.length > 0 && codes.join(', '), others].filter(Boolean).join(' and ')
  const who = [places && `clients in ${places}`, passes.includes(null) && 'clients whose country is unknown'].filter(Boolean)
  return who.length > 0 ? who.join(', and ') : null
}
