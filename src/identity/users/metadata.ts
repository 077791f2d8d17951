/** Facts about a user that other programs need, as JSON. The user may read `public`, and never `admin`. */
import { Type } from 'typebox'
import type { Metadata } from '../../platform/db/tables.ts'
import type { FieldError } from '../../platform/lib/errors.ts'

const MAX_METADATA_BYTES = 4096

/** Any JSON object. */
export const JsonObject = Type.Unsafe<Record<string, unknown>>(Type.Object({}, { additionalProperties: true }))

/** Metadata as administrators see it. */
export const MetadataSchema = Type.Object({ public: JsonObject, admin: JsonObject }, { title: 'Metadata' })

export const metadataViewOf = ({ public: open = {}, admin = {} }: Metadata): Required<Metadata> => ({ public: open, admin })

/** A change of metadata. Null removes a part. */
export type MetadataPatch = { [K in keyof Metadata]: Metadata[K] | null }

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

export const isMetadataPatch = (value: unknown): value is MetadataPatch =>
  isObject(value) &&
  Object.keys(value).length > 0 &&
  Object.entries(value).every(([part, members]) => ['public', 'admin'].includes(part) && (members === null || isObject(members)))

/** RFC 7396: an object is merged, null removes, everything else replaces. A member called `__proto__` is a member like any other. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged = new Map(Object.entries(isObject(target) ? target : {}))
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name)
    else merged.set(name, mergePatch(merged.get(name), value))
  }
  return Object.fromEntries(merged)
}

/** The members that a patch names, for the audit log: `public.plan admin.tenant`. Values are left out. */
export function namesOf(patch: MetadataPatch): string {
  const names = Object.entries(patch).flatMap(([part, members]) =>
    members ? Object.keys(members).map((name) => `${part}.${encodeURIComponent(name.toWellFormed())}`) : [part],
  )
  return names.join(' ').slice(0, 500)
}

/** What is wrong with metadata. Postgres stores no NUL in JSON, and no half of a surrogate pair. */
export function metadataFaults(metadata: Metadata): FieldError[] {
  const text = JSON.stringify(metadata)
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_METADATA_BYTES)
    return [{ field: 'metadata', code: 'too_long', detail: `must be at most ${MAX_METADATA_BYTES} bytes of JSON: it would have ${bytes}` }]
  // well-formed JSON.stringify escapes what is no text
  return /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(text)
    ? [{ field: 'metadata', code: 'format', detail: 'must hold Unicode text without NUL' }]
    : []
}
