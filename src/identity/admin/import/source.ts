/** What the converters of exports from other systems share. A converter yields one line of `users import` for each user of the export. */
import type { Config } from '../../../platform/config/schema.ts'
import { invalidField } from '../../../platform/lib/errors.ts'
import { canonicalUsername, isUsername } from '../../users/canonical-login.ts'

export interface ConvertOptions {
  usernames: Config['auth']['username']
  now: Date
  /** Gets the number of a user, and what of this user is not carried over. */
  note(user: number, text: string): void
}

/** A line of `users import`, before it is checked. Null: the user is left out. */
export type ImportLine = Record<string, unknown> | null

export type Converter = (input: AsyncIterable<Uint8Array>, options: ConvertOptions) => AsyncIterable<ImportLine>

const MAX_TEXT = 268_435_456

/** @throws validation_failed */
export const badFile = (detail: string): Error => invalidField('file', 'format', detail)

/** @throws validation_failed for a text of more than 256 MiB, and for what is no UTF-8 */
export async function wholeText(input: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of input) {
    bytes += chunk.length
    if (bytes > MAX_TEXT) throw badFile('is larger than 256 MiB: split it')
    chunks.push(chunk)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw badFile('is not valid UTF-8')
  }
}

/** @throws validation_failed */
export function jsonOf(text: string, where = 'is not valid JSON'): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badFile(where)
  }
}

export const objectOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}

export const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/** @returns undefined for what is no text, and for an empty text */
export const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

/** JSON in a text, such as `{"plan":"gold"}`. What is no JSON object is empty. */
export function embeddedObject(text: unknown): Record<string, unknown> {
  try {
    return objectOf(typeof text === 'string' ? JSON.parse(text) : text)
  } catch {
    return {}
  }
}

/** @param time milliseconds, or a text with a date. @returns a text as it is when it is no date: the import reports it */
export function timeOf(time: unknown): string | undefined {
  if (time === undefined || time === null || time === '') return undefined
  const date = new Date(typeof time === 'number' || !/^\d+$/.test(String(time)) ? (time as string | number) : Number(time))
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString()
}

/** Without the members that have no value, so that the import sees no empty field. */
export const lineOf = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null))

/** Metadata without empty values. */
export function metadataOf(open: Record<string, unknown>, admin: Record<string, unknown>) {
  const [shown, hidden] = [lineOf(open), lineOf(admin)]
  return { ...(Object.keys(shown).length ? { public: shown } : {}), ...(Object.keys(hidden).length ? { admin: hidden } : {}) }
}

/** The field `username`. A name that is no username here is left out where it may be. */
export function usernameOf(
  name: string | undefined,
  email: unknown,
  user: number,
  { usernames, note }: ConvertOptions,
): { username?: string } {
  if (name === undefined || usernames === 'off') return {}
  if (isUsername(canonicalUsername(name)) || usernames === 'required') return { username: name }
  if (name.toLowerCase() !== String(email).toLowerCase()) note(user, 'the username is left out: it has another form than usernames here')
  return {}
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** RFC 4648 §6, without padding. */
export function base32Of(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{1,5}/g) ?? []).map((five) => BASE32[Number.parseInt(five.padEnd(5, '0'), 2)]).join('')
}
