/** Carries values of a user's metadata in access tokens, as `tokens.claims` maps them. */
import type { Config } from '../../platform/config/schema.ts'
import type { Metadata } from '../../platform/db/tables.ts'
import type { FieldError } from '../../platform/lib/errors.ts'

/** What a claim may hold. Other values are not carried. */
export type ClaimValue = string | number | boolean | string[]
export type ClaimValues = Readonly<Record<string, ClaimValue>>

export interface MetadataClaims {
  /** The claims of a user. */
  of(metadata: Metadata): ClaimValues
  /** The mapped claims among those of a token. */
  read(payload: object): ClaimValues
  /** What is wrong with the mapped values of metadata. */
  faults(metadata: Metadata): FieldError[]
}

/** So that the token, and the headers that repeat the values, stay below the limits of common servers. */
const MAX_MAPPED_BYTES = 1024

export const NO_CLAIMS: ClaimValues = {}

export function createMetadataClaims(mappings: Config['tokens']['claims']): MetadataClaims {
  const rules = mappings.map(({ claim, from }) => ({ claim, path: from.split('.').slice(1) }))

  function pick(source: object, paths: readonly { claim: string; path: readonly string[] }[]): ClaimValues {
    if (!paths.length) return NO_CLAIMS
    const found = paths.map(({ claim, path }): [string, unknown] => [claim, valueAt(source, path)])
    return Object.fromEntries(found.filter((entry): entry is [string, ClaimValue] => isClaimValue(entry[1])))
  }

  const ofToken = rules.map(({ claim }) => ({ claim, path: [claim] }))
  const of = (metadata: Metadata) => pick(metadata, rules)
  return {
    of,
    read: (payload) => pick(payload, ofToken),
    faults(metadata) {
      const bad = rules.filter(({ path }) => {
        const value = valueAt(metadata, path)
        return value !== undefined && !isClaimValue(value)
      })
      if (bad.length)
        return bad.map(({ claim, path }) => ({
          field: `metadata.${path.join('.')}`,
          code: 'type',
          detail: `must be a text, a number, a boolean or a list of texts: access tokens carry it as ${claim}`,
        }))
      const bytes = Buffer.byteLength(JSON.stringify(of(metadata)))
      if (bytes <= MAX_MAPPED_BYTES) return []
      const detail = `holds values for access tokens with ${bytes} bytes together: at most ${MAX_MAPPED_BYTES} are possible`
      return [{ field: 'metadata', code: 'too_long', detail }]
    },
  }
}

function valueAt(source: object, path: readonly string[]): unknown {
  let value: unknown = source
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

const isClaimValue = (value: unknown): value is ClaimValue =>
  ['string', 'number', 'boolean'].includes(typeof value) || (Array.isArray(value) && value.every((item) => typeof item === 'string'))
