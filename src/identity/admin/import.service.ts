/** Imports users, one JSON object a line. An import can be repeated: existing users are skipped. */
import { Ajv } from 'ajv'
import { type Static, Type } from 'typebox'
import { uuidv7 } from 'uuidv7'
import { type Config, ROLE_NAME } from '../../platform/config/schema.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { strictBody } from '../../platform/http/endpoint.ts'
import type { FieldCode, FieldError } from '../../platform/lib/errors.ts'
import { schemaFieldError } from '../../platform/lib/schema-field-error.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { importedHash } from '../credentials/password-hashes.ts'
import { insertConfirmedFactor } from '../factors/factors.repo.ts'
import { sealFactor } from '../factors/second-factor.ts'
import { readSeed } from '../factors/totp.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { createMetadataClaims } from '../tokens/metadata-claims.ts'
import { canonicalEmail, canonicalUsername, nameFaults, newUsernameFaults, shownEmail } from '../users/canonical-login.ts'
import { isHeld } from '../users/held-usernames.repo.ts'
import { JsonObject, metadataFaults } from '../users/metadata.ts'
import { FIRST_ROLES } from '../users/roles.ts'
import { usernameField } from '../users/schemas.ts'
import { deleteImported, findTaken, type ImportedUser, insertImported, NO_PASSWORD } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'

const MAX_LINE = 65_536
const UUID = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
const TIME = '^\\d{4}-\\d\\d-\\d\\d[Tt]\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?([Zz]|[+-]\\d\\d:\\d\\d)$'

const Line = strictBody({
  id: Type.Optional(Type.String({ pattern: UUID })),
  ...usernameField('optional'),
  email: Type.String({ maxLength: 254 }),
  email_verified: Type.Optional(Type.Boolean()),
  password_hash: Type.Optional(Type.String({ maxLength: 512 })),
  password_must_change: Type.Optional(Type.Boolean()),
  roles: Type.Optional(Type.Array(Type.String({ pattern: ROLE_NAME }), { maxItems: 100 })),
  disabled: Type.Optional(Type.Boolean()),
  created_at: Type.Optional(Type.String({ pattern: TIME })),
  totp: Type.Optional(
    strictBody({
      secret: Type.String({ maxLength: 256 }),
      algorithm: Type.Optional(Type.String({ maxLength: 32 })),
      digits: Type.Optional(Type.Integer()),
      period: Type.Optional(Type.Integer()),
    }),
  ),
  metadata: Type.Optional(strictBody({ public: Type.Optional(JsonObject), admin: Type.Optional(JsonObject) })),
})
type Line = Static<typeof Line>

export interface ImportSummary {
  created: number
  skipped: number
  failed: number
}

export interface ImportOptions {
  /** Checks everything, and writes nothing. */
  isDryRun: boolean
  by: Actor
  /** Gets the number of a line, and its fault or the reason why it was skipped. */
  report(line: number, text: string): void
  /** Gets the number of lines that are done. */
  progress?(lines: number): void
  batch?: number
}

export type ImportUsers = ReturnType<typeof createImport>

interface Read {
  line: number
  user: ImportedUser
  /** Of the second factor. */
  seed: Buffer | null
}

export interface ImportDeps {
  db: Db
  accounts: Accounts
  secrets: Secrets
  config: Pick<Config, 'auth' | 'tokens'>
}

export function createImport({ db, accounts, secrets, config: { auth, tokens } }: ImportDeps) {
  const metadataClaims = createMetadataClaims(tokens.claims)
  return async (
    input: AsyncIterable<Uint8Array>,
    { isDryRun, by, report, progress, batch = 500 }: ImportOptions,
  ): Promise<ImportSummary> => {
    const properties = { ...Line.properties, ...usernameField(auth.username === 'required' ? 'required' : 'optional') }
    const isLine = new Ajv({ allErrors: true, strict: false }).compile<Line>(strictBody(properties))
    const now = await databaseNow(db)
    /** The names in this file, each with the number of its line. */
    const seen = new Map<string, number>()
    const summary = { created: 0, skipped: 0, failed: 0 }
    let read: Read[] = []
    let number = 0

    for await (const text of linesOf(input)) {
      number++
      if (text.trim() === '') continue
      const found = readLine(text)
      if ('faults' in found) {
        summary.failed++
        for (const { field, detail } of found.faults) report(number, field ? `${field}: ${detail}` : detail)
      } else read.push({ line: number, ...found })
      if (read.length >= batch) await finish()
    }
    await finish()
    return summary

    function readLine(text: string): Omit<Read, 'line'> | { faults: FieldError[] } {
      if (text.length > MAX_LINE) return { faults: [{ field: '', code: 'too_long', detail: `is longer than ${MAX_LINE} characters` }] }
      if (text.includes('\ufffd')) return { faults: [{ field: '', code: 'format', detail: 'is not valid UTF-8' }] }
      let value: unknown
      try {
        value = JSON.parse(text.trim())
      } catch {
        return { faults: [{ field: '', code: 'format', detail: 'is not valid JSON' }] }
      }
      if (!isLine(value)) return { faults: isLine.errors!.map((error) => schemaFieldError(error, '')) }
      const hash = value.password_hash === undefined ? { hash: NO_PASSWORD } : importedHash(value.password_hash)
      const user = userOf(value, 'hash' in hash ? hash.hash : NO_PASSWORD, now)
      const faults = [
        ...newUsernameFaults(user.username, auth.username),
        ...faultsOf(value, user, now),
        ...metadataClaims.faults(user.metadata),
      ]
      const seed = value.totp === undefined ? null : readSeed(value.totp)
      if (seed && 'fault' in seed) faults.push({ field: 'totp', code: 'format', detail: seed.fault })
      if ('fault' in hash) faults.push({ field: 'password_hash', code: 'format', detail: hash.fault })
      if (!faults.length) faults.push(...repeated(value, user))
      return faults.length ? { faults } : { user, seed: seed && 'seed' in seed ? seed.seed : null }
    }

    function repeated({ id }: Line, { username, email_canonical }: ImportedUser): FieldError[] {
      const named = Object.entries({ username, email: email_canonical, id })
      const names = named.filter((entry): entry is [string, string] => entry[1] != null)
      const twice = names.filter(([, name]) => seen.has(name))
      if (!twice.length) for (const [, name] of names) seen.set(name, number)
      return twice.map(([field, name]) => ({ field, code: 'repeated' as const, detail: `is that of line ${seen.get(name)}, too` }))
    }

    async function finish(): Promise<void> {
      const skipped = await (isDryRun ? look(read) : write(read))
      for (const { line, why } of skipped) report(line, `skipped: ${why}`)
      summary.created += read.length - skipped.length
      summary.skipped += skipped.length
      read = []
      progress?.(number)
    }

    /** Reports nothing, since a transaction may run again. */
    function write(users: Read[]): Promise<Skipped[]> {
      return accounts.transaction('user_import', by.context, async ({ trx, record }) => {
        const skipped: Skipped[] = []
        for (const { line, user, seed } of users) {
          if (!(await insertImported(trx, { ...user, mfa_enabled: seed !== null }))) {
            skipped.push({ line, why: whyTaken(user, await findTaken(trx, user)) })
          } else if (await isHeld(trx, user)) {
            await deleteImported(trx, user)
            skipped.push({ line, why: HELD })
          } else {
            if (seed) await insertFactor(trx, user, seed)
            await record({ userId: user.id, actor: by.actor })
          }
        }
        return skipped
      })
    }

    /** The factor has no backup codes: its owner makes some. */
    async function insertFactor(trx: Transaction, { id: user_id }: ImportedUser, seed: Buffer): Promise<void> {
      const factor = { id: uuidv7(), user_id }
      await insertConfirmedFactor(trx, { ...factor, secret_sealed: sealFactor(secrets, factor, seed), created_at: now, confirmed_at: now })
    }

    async function look(users: Read[]): Promise<Skipped[]> {
      const skipped: Skipped[] = []
      for (const { line, user } of users) {
        const taken = await findTaken(db, user)
        if (taken.length) skipped.push({ line, why: whyTaken(user, taken) })
        else if (await isHeld(db, user)) skipped.push({ line, why: HELD })
      }
      return skipped
    }
  }
}

interface Skipped {
  line: number
  why: string
}

const HELD = 'the username was given up a moment ago, and is held for a while'

function whyTaken({ username, email_canonical }: ImportedUser, taken: Awaited<ReturnType<typeof findTaken>>): string {
  if (taken.some((other) => other.email_canonical === email_canonical)) return 'the e-mail address is there already'
  if (username !== null && taken.some((other) => other.username === username))
    return 'the username is there already, with another e-mail address'
  return 'the id is there already'
}

/** A line that is too long is cut, just long enough to be seen as too long. */
async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of input) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop()!.slice(0, MAX_LINE + 1)
    yield* lines
  }
  yield rest + decoder.decode()
}

function userOf(line: Line, hash: string, now: Date): ImportedUser {
  const created_at = line.created_at === undefined ? now : new Date(line.created_at)
  return {
    id: line.id ?? uuidv7(),
    username: line.username === undefined ? null : canonicalUsername(line.username),
    email: shownEmail(line.email),
    email_canonical: canonicalEmail(line.email),
    email_verified_at: line.email_verified ? created_at : null,
    is_email_vouched: true,
    password_hash: hash,
    password_must_change: line.password_must_change ?? false,
    roles: [...new Set(line.roles ?? FIRST_ROLES)].sort(),
    disabled_at: line.disabled ? now : null,
    created_at,
    metadata: line.metadata ?? {},
  }
}

/** Faults that a schema cannot express. */
function faultsOf(line: Line, user: ImportedUser, now: Date): FieldError[] {
  const timeCode: FieldCode = user.created_at > now ? 'in_future' : 'format'
  return [
    ...nameFaults(undefined, line.email),
    ...metadataFaults(user.metadata),
    ...(user.created_at.getTime() >= 0 && user.created_at <= now
      ? []
      : [{ field: 'created_at', code: timeCode, detail: 'must be a date and time that has passed' }]),
  ]
}
