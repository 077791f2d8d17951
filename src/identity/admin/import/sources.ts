/** The systems whose exports `users import --from` reads. */
import { fromAuth0 } from './auth0.ts'
import { fromDjango } from './django.ts'
import { fromFirebase } from './firebase.ts'
import { fromKeycloak } from './keycloak.ts'
import type { Converter, ConvertOptions } from './source.ts'
import { fromSupabase } from './supabase.ts'

const SOURCES = {
  keycloak: fromKeycloak,
  supabase: fromSupabase,
  auth0: fromAuth0,
  firebase: fromFirebase,
  django: fromDjango,
} satisfies Record<string, Converter>

export type Source = keyof typeof SOURCES

/** One line for each user of the export, so that the number of a line is the number of the user. A user who is left out has an empty line. */
export async function* linesFrom(source: Source, input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<Uint8Array> {
  for await (const line of SOURCES[source](input, options)) yield Buffer.from(`${line === null ? '' : JSON.stringify(line)}\n`)
}
