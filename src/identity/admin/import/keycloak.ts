/** Keycloak: a realm export with users, or a file of users of such an export. */
import { pbkdf2Hash } from '../../credentials/password-hashes.ts'
import {
  badFile,
  base32Of,
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
  usernameOf,
  wholeText,
} from './source.ts'

const DIGESTS = { pbkdf2: 'sha1', 'pbkdf2-sha256': 'sha256', 'pbkdf2-sha512': 'sha512' } as const

export async function* fromKeycloak(input: AsyncIterable<Uint8Array>, options: ConvertOptions): AsyncIterable<ImportLine> {
  const { users } = objectOf(jsonOf(await wholeText(input)))
  if (!Array.isArray(users)) throw badFile('has no list "users": export the realm with its users')
  for (const [i, user] of users.entries()) yield lineFor(objectOf(user), i + 1, options)
}

function lineFor(user: Record<string, unknown>, number: number, options: ConvertOptions): ImportLine {
  if (user.serviceAccountClientId !== undefined) {
    options.note(number, 'left out: it is the account of a client')
    return null
  }
  const credentials = listOf(user.credentials).map(objectOf)
  const password = credentials.find(({ type }) => type === 'password')
  const hash = password && hashOf(password)
  if (password && !hash)
    options.note(number, 'the password is left out: its hash is of another kind. The user sets a new password by a mailed link')
  if (credentials.some(({ type }) => type === 'webauthn' || type === 'webauthn-passwordless'))
    options.note(number, 'the passkeys are left out')
  const otp = credentials.find(({ type }) => type === 'otp')
  return lineOf({
    id: user.id,
    ...usernameOf(textOf(user.username), user.email, number, options),
    email: textOf(user.email),
    email_verified: user.emailVerified,
    password_hash: hash,
    password_must_change: listOf(user.requiredActions).includes('UPDATE_PASSWORD') || undefined,
    totp: otp && totpOf(otp),
    disabled: user.enabled === false || undefined,
    created_at: timeOf(user.createdTimestamp),
    metadata: metadataOf({ first_name: textOf(user.firstName), last_name: textOf(user.lastName) }, objectOf(user.attributes)),
  })
}

function hashOf({ credentialData, secretData }: Record<string, unknown>): string | undefined {
  const { algorithm, hashIterations, additionalParameters } = embeddedObject(credentialData)
  const { value, salt } = embeddedObject(secretData)
  if (typeof value !== 'string') return undefined
  if (value.startsWith('$2')) return value
  if (typeof salt !== 'string') return undefined
  if (algorithm === 'argon2') return argon2Of(objectOf(additionalParameters), Number(hashIterations), salt, value)
  const digest = DIGESTS[algorithm as keyof typeof DIGESTS]
  return digest === undefined
    ? undefined
    : pbkdf2Hash({ digest, iterations: Number(hashIterations), salt: Buffer.from(salt, 'base64'), sum: Buffer.from(value, 'base64') })
}

/** The parameters are lists of one text each. */
function argon2Of(parameters: Record<string, unknown>, passes: number, salt: string, value: string): string | undefined {
  const [type, memory, lanes, version] = ['type', 'memory', 'parallelism', 'version'].map((name) => listOf(parameters[name])[0])
  if (version !== '1.3') return undefined
  const [saltText, sumText] = [salt, value].map((base64) => base64.replace(/=+$/, ''))
  return `$argon2${type}$v=19$m=${memory},t=${passes},p=${lanes}$${saltText}$${sumText}`
}

/** Without `secretEncoding`, the secret is a text whose bytes are the seed. */
function totpOf({ credentialData, secretData }: Record<string, unknown>) {
  const { subType, algorithm, digits, period, secretEncoding } = embeddedObject(credentialData)
  const value = String(embeddedObject(secretData).value ?? '')
  return {
    secret: secretEncoding === 'BASE32' ? value : base32Of(Buffer.from(value)),
    algorithm: subType === 'totp' ? String(algorithm ?? 'HmacSHA1').replace(/^Hmac/, '') : String(subType),
    digits,
    period,
  }
}
