/** The configuration in a form that may be shown: values that the schema marks `writeOnly`, and the passwords of all URLs, are hidden. */
import { type Config, ConfigSchema } from './schema.ts'

interface Schema {
  writeOnly?: boolean
  default?: unknown
  properties?: Record<string, Schema>
  patternProperties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
}

const HIDDEN = '***'

export const withoutSecrets = (config: Config): unknown => hide(config, [ConfigSchema as Schema])

/** @param schemas that may apply to the value: all branches of a union count, and one `writeOnly` branch is enough */
function hide(value: unknown, schemas: Schema[]): unknown {
  const meant = schemas.flatMap((schema) => [schema, ...(schema.anyOf ?? [])])
  if (Array.isArray(value)) {
    const items = meant.flatMap(({ items }) => items ?? [])
    return value.map((item) => hide(item, items))
  }
  if (typeof value === 'object' && value !== null) {
    const inside = (key: string) =>
      meant.flatMap(({ properties = {}, patternProperties = {} }) => properties[key] ?? Object.values(patternProperties))
    return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, hide(held, inside(key))]))
  }
  if (typeof value !== 'string') return value
  const secret = meant.find(({ writeOnly }) => writeOnly)
  // the rest of a connection string is useful, and a default is public
  if (value.includes('://')) return withoutPassword(value)
  return secret && value !== secret.default ? HIDDEN : value
}

/** Hides everything from the first colon to the last @: a username may be an e-mail address, and a password may hold any character. */
const withoutPassword = (url: string) =>
  url
    .replace(/(:\/\/[^:]*):.*@/s, `$1:${HIDDEN}@`)
    .replace(/([?&])([^=&#]*)=[^&#]*/g, (all, mark: string, name: string) => (isSecretName(name) ? `${mark}${name}=${HIDDEN}` : all))

/** A percent-encoded name could be any name. */
const isSecretName = (name: string) => /pass|secret|token|%/i.test(name)
