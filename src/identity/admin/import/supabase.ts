/** Supabase: the table auth.users as CSV with a header. */
import { csvRows } from './csv.ts'
import { badFile, type ConvertOptions, embeddedObject, type ImportLine, lineOf, metadataOf, textOf, timeOf } from './source.ts'

/** Facts about the login at Supabase, which mean nothing here. */
const OF_SUPABASE = new Set(['provider', 'providers', 'email_verified', 'phone_verified', 'sub', 'email', 'iss'])
const NEEDED = ['id', 'email', 'encrypted_password']

export async function* fromSupabase(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  let header: string[] | null = null
  let number = 0
  for await (const row of csvRows(input)) {
    if (header === null) {
      header = row
      const missing = NEEDED.filter((name) => !row.includes(name))
      if (missing.length) throw badFile(`has no column ${missing.join(', ')}: export auth.users as CSV with a header`)
      continue
    }
    number++
    yield lineFor(Object.fromEntries(header.map((name, i) => [name, row[i] ?? ''])), number, options)
  }
}

function lineFor(row: Record<string, string>, number: number, { note }: ConvertOptions): ImportLine {
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
    disabled: row.banned_until ? true : undefined,
    created_at: timeOf(dateOf(row.created_at)),
    metadata: metadataOf(own(row.raw_user_meta_data), { ...own(row.raw_app_meta_data), phone: textOf(row.phone) }),
  })
}

const isTrue = (text: string | undefined) => text === 't' || text === 'true'

const own = (text: string | undefined) =>
  Object.fromEntries(Object.entries(embeddedObject(text ?? '')).filter(([name]) => !OF_SUPABASE.has(name)))

/** Postgres writes `2024-01-02 03:04:05.6+00`. */
const dateOf = (text: string | undefined) => text?.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')
