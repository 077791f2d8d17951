/** Django: `manage.py dumpdata auth.user`, also with `otp_totp.totpdevice` of django-otp. A user model of the project works, too. */

import { importedHash } from '../../credentials/password-hashes.ts'
import {
  badFile,
  base32Of,
  type ConvertOptions,
  type ImportLine,
  jsonOf,
  lineOf,
  metadataOf,
  objectOf,
  textOf,
  timeOf,
  usernameOf,
  wholeText,
} from './source.ts'

interface Row {
  model: string
  pk: unknown
  fields: Record<string, unknown>
}

export async function* fromDjango(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  const rows = jsonOf(await wholeText(input))
  if (!Array.isArray(rows)) throw badFile('must be a list, as dumpdata writes')
  const read = rows.map((row): Row => {
    const { model, pk, fields } = objectOf(row)
    return { model: String(model), pk, fields: objectOf(fields) }
  })
  const users = read.filter(({ fields }) => 'password' in fields && 'email' in fields)
  if (!users.length) throw badFile('has no users with the fields email and password: export with manage.py dumpdata auth.user')
  const devices = new Map(
    read
      .filter(({ model, fields }) => model === 'otp_totp.totpdevice' && fields.confirmed !== false)
      .map((row) => [row.fields.user, row.fields]),
  )
  for (const [i, user] of users.entries()) yield lineFor(user, devices.get(user.pk), i + 1, options)
}

function lineFor({ pk, fields }: Row, device: Row['fields'] | undefined, number: number, options: ConvertOptions): ImportLine {
  if (fields.is_superuser === true || fields.is_staff === true)
    options.note(number, 'is_superuser and is_staff are left out: grant roles afterwards')
  return lineOf({
    ...usernameOf(textOf(fields.username), fields.email, number, options),
    email: textOf(fields.email),
    password_hash: hashOf(textOf(fields.password), number, options),
    totp: device && { secret: base32Of(Buffer.from(String(device.key), 'hex')), digits: device.digits, period: device.step },
    disabled: fields.is_active === false || undefined,
    created_at: timeOf(fields.date_joined),
    metadata: metadataOf({ first_name: textOf(fields.first_name), last_name: textOf(fields.last_name) }, { django_id: pk }),
  })
}

/** Django marks an unusable password with an exclamation mark. */
function hashOf(hash: string | undefined, number: number, { note }: ConvertOptions): string | undefined {
  const isUsable = hash !== undefined && !hash.startsWith('!')
  if (isUsable && 'hash' in importedHash(hash)) return hash
  note(
    number,
    `the password is left out: ${isUsable ? 'its hash is of another kind' : 'it is unusable'}. The user sets a new password by a mailed link`,
  )
  return undefined
}
