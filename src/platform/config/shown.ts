/** The configuration as it may be shown: what the schema marks `writeOnly` is hidden, and the password of every URL wherever it stands. */
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

/** @param schemas that may hold for the value: all branches of a union are asked, and one that hides is enough */
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
  // of a connection string the rest helps, and a default is known to everybody
  if (value.includes('://')) return withoutPassword(value)
  return secret && value !== secret.default ? HIDDEN : value
}

/** From the first colon to the last @: a username may be an e-mail address, and a password anything. */
const withoutPassword = (url: string) =>
  url
    .replace(/(:\/\/[^:]*):.*@/s, `$1:${HIDDEN}@`)
    .replace(/([?&])([^=&#]*)=[^&#]*/g, (all, mark: string, name: string) => (isSecretName(name) ? `${mark}${name}=${HIDDEN}` : all))

/** A name that is written in percents could be any. */
const isSecretName = (name: string) => /pass|secret|token|%/i.test(name)
