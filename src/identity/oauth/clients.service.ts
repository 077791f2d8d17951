/** Operators create, change and delete machine clients. Every change ends the tokens that were issued before it. */
import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import { brokenConstraint, type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { type FieldError, invalidField, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { type Actor, createAuditedAction } from '../admin/audited-action.ts'
import type { LockForAction } from '../admin/lock-for-action.ts'
import type { Accounts, AccountTransaction } from '../sessions/account-transaction.ts'
import { secretHashOf } from './client-authentication.ts'
import { type ClientKey, readClientKeys } from './client-keys.ts'
import {
  type ClientChange,
  deleteClient,
  findClientById,
  findClientByName,
  insertClient,
  listClients,
  lockClient,
  type OAuthClient,
  updateClient,
} from './clients.repo.ts'

export interface ClientInput {
  name: string
  roles?: string[]
  scopes?: string[]
  /** Public keys (RFC 7517). A client with keys signs assertions and has no secret. */
  jwks?: unknown
}

export interface ClientView {
  /** The `client_id`. */
  id: string
  name: string
  auth_method: 'client_secret' | 'private_key_jwt'
  jwks: { keys: ClientKey[] } | null
  roles: string[]
  scopes: string[]
  disabled: boolean
  created_at: string
  last_used_at: string | null
}

/** The secret is shown once. */
export type ClientWithSecret = { client: ClientView; client_secret?: string }

/** A change of a locked client, and the epoch below which its tokens end. */
type Change<T> = (trx: Transaction, client: OAuthClient) => Promise<{ result: T; epoch: number }>

const MAX_LISTED = 1000
const NAME = /^[^\p{Cc}\p{Cs}]{1,64}$/u
const ROLE = /^[a-z][a-z0-9_.:-]{0,62}$/
/** RFC 6749 §3.3 */
export const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/

export interface ClientsDeps {
  db: Db
  accounts: Accounts
  lockForAction: LockForAction
}

export function createClients({ db, accounts, lockForAction }: ClientsDeps) {
  const audited = createAuditedAction(accounts)

  async function create(input: ClientInput, by: Actor): Promise<ClientWithSecret> {
    const { name, roles = [], scopes = [] } = input
    assertFields({ name, roles, scopes })
    const secret = input.jwks === undefined ? makeSecret() : null
    const credential = secret === null ? keysOf(input.jwks) : secretOf(secret)
    const work = async ({ trx, record }: AccountTransaction) => {
      await lockForAction(trx, by)
      const created_at = await databaseNow(trx)
      const made = await insertClient(trx, {
        id: uuidv7(),
        name,
        ...credential,
        roles: [...new Set(roles)].sort(),
        scopes: [...new Set(scopes)].sort(),
        created_at,
        disabled_at: null,
        last_used_at: null,
      })
      await record({ detail: made.id, actor: by.actor })
      return made
    }
    const event = 'client_create'
    const client = await audited({ event }, by, () => accounts.transaction(event, by.context, work).catch(throwTaken))
    return withSecret(client, secret)
  }

  /** @param ref an id, or a name. @throws not_found */
  async function find(ref: string): Promise<OAuthClient> {
    const found = isId(ref) ? await findClientById(db, ref) : NAME.test(ref) ? await findClientByName(db, ref) : undefined
    if (!found) throw problem('not_found')
    return found
  }

  /** Changes a locked client in one transaction with its audit row, and ends its older tokens. @param ref an id, or a name */
  async function change<T>(ref: string, event: string, work: Change<T>, by: Actor): Promise<T> {
    const found = await find(ref)
    return audited({ event, detail: found.id }, by, () => commit(found.id, event, work, by).catch(throwTaken))
  }

  const commit = <T>(id: string, event: string, work: Change<T>, by: Actor): Promise<T> =>
    accounts.transaction(event, by.context, async ({ trx, record, revoke }) => {
      await lockForAction(trx, by)
      const locked = await lockClient(trx, id)
      if (!locked) throw problem('not_found')
      await record({ detail: id, actor: by.actor })
      const { result, epoch } = await work(trx, locked)
      await revoke.tokensBelow(id, epoch)
      return result
    })

  const set = (
    ref: string,
    event: string,
    values: (trx: Transaction) => ClientChange | Promise<ClientChange>,
    by: Actor,
  ): Promise<OAuthClient> => {
    const update: Change<OAuthClient> = async (trx, { id }) => {
      const client = await updateClient(trx, id, await values(trx))
      return { result: client, epoch: client.token_epoch }
    }
    return change(ref, event, update, by)
  }

  return {
    create,

    /** @param ref an id, or a name. @throws not_found */
    find: async (ref: string): Promise<ClientView> => viewOf(await find(ref)),

    async list(): Promise<ClientView[]> {
      return (await listClients(db, MAX_LISTED)).map(viewOf)
    },

    /** New keys replace the old keys, or the secret. */
    async update(ref: string, { jwks, ...fields }: Partial<ClientInput>, by: Actor): Promise<ClientView> {
      assertFields(fields)
      const keys = jwks === undefined ? {} : keysOf(jwks)
      return viewOf(await set(ref, 'client_update', () => ({ ...fields, ...keys }), by))
    },

    /** A new secret replaces the old secret, or the keys. */
    async rotateSecret(ref: string, by: Actor): Promise<ClientWithSecret> {
      const secret = makeSecret()
      return withSecret(await set(ref, 'client_secret_rotate', () => secretOf(secret), by), secret)
    },

    disable: async (ref: string, by: Actor) =>
      viewOf(await set(ref, 'client_disable', async (trx) => ({ disabled_at: await databaseNow(trx) }), by)),

    enable: async (ref: string, by: Actor) => viewOf(await set(ref, 'client_enable', () => ({ disabled_at: null }), by)),

    remove(ref: string, by: Actor): Promise<void> {
      const erase: Change<void> = async (trx, { id, token_epoch }) => {
        await deleteClient(trx, id)
        return { result: undefined, epoch: token_epoch + 1 }
      }
      return change(ref, 'client_delete', erase, by)
    },
  }
}

export type Clients = ReturnType<typeof createClients>

/** 256 random bits, so that its plain hash cannot be searched. */
const makeSecret = () => `pcs_${randomBytes(32).toString('base64url')}`
const secretOf = (secret: string) => ({ secret_hash: secretHashOf(secret), jwks: null })
const keysOf = (jwks: unknown) => ({ secret_hash: null, jwks: JSON.stringify(readClientKeys(jwks)) })

function assertFields({ name, roles = [], scopes = [] }: Partial<ClientInput>): void {
  const errors: FieldError[] = []
  if (name !== undefined && (!NAME.test(name) || isId(name)))
    errors.push({ field: 'name', code: 'format', detail: 'must be 1 to 64 characters, and must not be an id' })
  for (const role of roles)
    if (!ROLE.test(role))
      errors.push({ field: 'roles', code: 'format', detail: `must be role names (a-z, digits, _ . : -), not ${JSON.stringify(role)}` })
  for (const scope of scopes)
    if (!SCOPE.test(scope))
      errors.push({ field: 'scopes', code: 'format', detail: `must be scopes (RFC 6749 §3.3), not ${JSON.stringify(scope)}` })
  if (errors.length) throw problem('validation_failed', { errors })
}

function throwTaken(error: unknown): never {
  if (brokenConstraint(error) === 'clients_name_key') throw invalidField('name', 'taken', 'is taken')
  throw error
}

const withSecret = (client: OAuthClient, secret: string | null): ClientWithSecret => ({
  client: viewOf(client),
  ...(secret === null ? {} : { client_secret: secret }),
})

const viewOf = (client: OAuthClient): ClientView => ({
  id: client.id,
  name: client.name,
  auth_method: client.jwks === null ? 'client_secret' : 'private_key_jwt',
  jwks: client.jwks === null ? null : JSON.parse(client.jwks),
  roles: client.roles,
  scopes: client.scopes,
  disabled: client.disabled_at !== null,
  created_at: client.created_at.toISOString(),
  last_used_at: client.last_used_at?.toISOString() ?? null,
})
