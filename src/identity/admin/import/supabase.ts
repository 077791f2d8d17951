/** Supabase: the table auth.users as CSV with a header. */
import { Readable } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import { badFile, type ConvertOptions, embeddedObject, type ImportLine, lineOf, metadataOf, textOf, timeOf } from './source.ts'

/** Facts about the login at Supabase, which mean nothing here. */
const OF_SUPABASE = new Set(['provider', 'providers', 'email_verified', 'phone_verified', 'sub', 'email', 'iss'])
/** Characters. The import refuses a line of more. */
const MAX_ROW = 65_536
const NEEDED = ['id', 'email', 'encrypted_password']

export async function* fromSupabase(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  let number = 0
  try {
    for await (const row of rowsOf(input)) yield lineFor(row, ++number, options)
  } catch (error) {
    throw error instanceof CsvError ? badFile(`is not valid CSV: ${error.message}`) : error
  }
}

function rowsOf(input: AsyncIterable<Uint8Array>): AsyncIterable<Record<string, string>> {
  const columns = (header: string[]) => {
    const missing = NEEDED.filter((name) => !header.includes(name))
    if (missing.length) throw badFile(`has no column ${missing.join(', ')}: export auth.users as CSV with a header`)
    return header
  }
  const parser = parse({ bom: true, columns, max_record_size: MAX_ROW, relax_column_count: true, skip_empty_lines: true })
  Readable.from(input)
    .on('error', (error) => parser.destroy(error))
    .pipe(parser)
  return parser
}

function lineFor(row: Record<string, string>, number: number, { note, now }: ConvertOptions): ImportLine {
  if (row.deleted_at) {
    note(number, 'left out: it was deleted')
    return null
  }
  if (isTrue(row.is_anonymous)) {
    note(number, 'left out: it is anonymous')
    return null
  }
  const confirmedAt = row.email_confirmed_at || row.confirmed_at
  return lineOf({
    id: row.id,
    email: textOf(row.email),
    email_verified: Boolean(confirmedAt),
    password_hash: textOf(row.encrypted_password),
    totp: row.totp_secret ? { secret: row.totp_secret } : undefined,
    disabled: isBanned(row.banned_until, now) || undefined,
    created_at: timeOf(dateOf(row.created_at)),
    metadata: metadataOf(own(row.raw_user_meta_data), { ...own(row.raw_app_meta_data), phone: textOf(row.phone) }),
  })
}

/** A ban that has ended is none. Every text that is no date is a ban: `infinity` among them. */
const isBanned = (until: string | undefined, now: Date): boolean => Boolean(until) && !(Date.parse(dateOf(until)!) <= now.getTime())

const isTrue = (text: string | undefined) => text === 't' || text === 'true'

const own = (text: string | undefined) =>
  Object.fromEntries(Object.entries(embeddedObject(text ?? '')).filter(([name]) => !OF_SUPABASE.has(name)))

/** Postgres writes `2024-01-02 03:04:05.6+00`. */
const dateOf = (text: string | undefined) => text?.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')
