/** Rules about countries of clients: `access.countries`, `auth.newCountry` and `geo`. */
import { notShown } from '../../platform/config/harmless.ts'
import type { Config } from '../../platform/config/schema.ts'
import { isCountry, meantCountry } from '../../platform/geo/country-codes.ts'
import type { Finding } from './finding.ts'

export function checkCountries({ auth, geo, routes }: Config, problems: Finding[], warnings: Finding[]): void {
  const hasDatabase = geo.database !== undefined
  const needsDatabase = (path: Finding['path']) =>
    problems.push({
      path,
      message: 'needs geo.database: no country is known without it',
      hint: 'set geo.database to a file such as GeoLite2-Country.mmdb',
    })
  if (auth.newCountry !== undefined && !hasDatabase) needsDatabase(['auth', 'newCountry'])
  routes.forEach(({ access }, i) => {
    if (typeof access === 'string') return
    const path = ['routes', i, 'access']
    const { public: isPublic, countries, ...requirement } = access
    if (isPublic && Object.keys(requirement).length > 0)
      problems.push({
        path,
        message: 'public cannot stand beside a requirement',
        hint: 'write { public: true, countries: … }, or remove public',
      })
    if (countries === undefined) return
    if (!hasDatabase) needsDatabase([...path, 'countries'])
    for (const key of ['allow', 'deny'] as const)
      countries[key]?.forEach((code, j) => {
        if (isCountry(code)) return
        problems.push({
          path: [...path, 'countries', key, j],
          message: `must be the code of a country${notShown(code)}`,
          hint: meantCountry(code),
        })
      })
    const both = countries.allow?.filter((code) => countries.deny?.includes(code)) ?? []
    if (both.length > 0)
      warnings.push({
        path: [...path, 'countries', 'deny'],
        message: `${both.join(', ')} is also in allow: it is refused`,
        hint: 'remove it from one of the two lists',
      })
  })
}
