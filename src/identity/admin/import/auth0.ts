/** Auth0: the bulk export with password hashes, or an export of the Management API, one JSON object a line. */
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import {
  badFile,
  type ConvertOptions,
  type ImportLine,
  jsonOf,
  lineOf,
  metadataOf,
  objectOf,
  textOf,
  timeOf,
  usernameOf,
} from './source.ts'

export async function* fromAuth0(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  let number = 0
  for await (const text of createInterface({ input: Readable.from(input), crlfDelay: Number.POSITIVE_INFINITY })) {
    number++
    const line = text.replace(/^\ufeff/, '').trim()
    if (line === '') yield null
    else if (line.startsWith('[')) throw badFile('is a list: write one JSON object a line')
    else yield lineFor(objectOf(jsonOf(line, `line ${number} is not valid JSON`)), number, options)
  }
}

function lineFor(user: Record<string, unknown>, number: number, options: ConvertOptions): ImportLine {
  const hash = textOf(user.passwordHash) ?? textOf(user.password_hash)
  if (!hash) options.note(number, 'it has no password hash: the user sets a password by a mailed link')
  const id = textOf(user.user_id) ?? textOf(objectOf(user._id).$oid) ?? textOf(user._id)
  const admin = { ...objectOf(user.app_metadata), auth0_id: id?.includes('|') || !id ? id : `auth0|${id}` }
  const open = { name: textOf(user.name), nickname: textOf(user.nickname), ...objectOf(user.user_metadata) }
  return lineOf({
    ...usernameOf(textOf(user.username), user.email, number, options),
    email: textOf(user.email),
    email_verified: user.email_verified,
    password_hash: hash,
    disabled: user.blocked === true || undefined,
    created_at: timeOf(objectOf(user.created_at).$date ?? user.created_at),
    metadata: metadataOf(open, admin),
  })
}
