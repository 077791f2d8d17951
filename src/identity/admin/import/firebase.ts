/** Firebase: `firebase auth:export users.json`, after the text of the password hash parameters in the console. */
import { firebaseHash } from '../../credentials/password-hashes.ts'
import {
  badFile,
  type ConvertOptions,
  embeddedObject,
  type ImportLine,
  jsonOf,
  lineOf,
  listOf,
  metadataOf,
  objectOf,
  textOf,
  timeOf,
  wholeText,
} from './source.ts'

interface Parameters {
  signerKey: Buffer
  separator: Buffer
  r: number
  ln: number
}

/** The members come in any order, with or without commas. */
const PARAMETERS = /^\s*hash_config\s*\{([^}]*)\}/

export async function* fromFirebase(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  const text = await wholeText(input)
  const [whole, members] = PARAMETERS.exec(text) ?? []
  if (whole === undefined || members === undefined)
    throw badFile('must begin with the password hash parameters of the console: hash_config { … }')
  const parameters = parametersOf(members)
  const { users } = objectOf(jsonOf(text.slice(whole.length), 'is not valid JSON after hash_config'))
  if (!Array.isArray(users)) throw badFile('has no list "users": export with firebase auth:export users.json')
  for (const [i, user] of users.entries()) yield lineFor(objectOf(user), i + 1, parameters, options)
}

function parametersOf(members: string): Parameters {
  const of = (name: string) => new RegExp(`\\b${name}:\\s*([^\\s,]+)`).exec(members)?.[1]
  const [algorithm, key, separator, rounds, cost] = ['algorithm', 'base64_signer_key', 'base64_salt_separator', 'rounds', 'mem_cost'].map(
    of,
  )
  if (algorithm !== 'SCRYPT' || !key || !separator || !rounds || !cost)
    throw badFile('hash_config must have algorithm: SCRYPT, base64_signer_key, base64_salt_separator, rounds and mem_cost')
  return { signerKey: Buffer.from(key, 'base64'), separator: Buffer.from(separator, 'base64'), r: Number(rounds), ln: Number(cost) }
}

function lineFor(user: Record<string, unknown>, number: number, parameters: Parameters, { note }: ConvertOptions): ImportLine {
  const [sum, salt] = [textOf(user.passwordHash), textOf(user.salt)]
  const hash =
    sum && salt ? firebaseHash({ ...parameters, p: 1, salt: Buffer.from(salt, 'base64'), sum: Buffer.from(sum, 'base64') }) : null
  if (sum && !hash) note(number, 'the password is left out: its hash does not fit the parameters')
  if (!sum) note(number, 'it has no password: the user sets one by a mailed link')
  if (listOf(user.mfaInfo).length) note(number, 'the second factor is left out: Firebase does not export its seed')
  return lineOf({
    email: textOf(user.email),
    email_verified: user.emailVerified,
    password_hash: hash,
    disabled: user.disabled === true || undefined,
    created_at: timeOf(user.createdAt),
    metadata: metadataOf(
      { name: textOf(user.displayName), picture: textOf(user.photoUrl) },
      { ...embeddedObject(user.customAttributes), phone: textOf(user.phoneNumber), firebase_uid: textOf(user.localId) },
    ),
  })
}
