/** Machines that may call: made, changed and ended by operators. Any change ends every token that was issued before. */
import { randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { Audit } from '../../platform/audit/audit.ts'
import { brokenConstraint, type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { type FieldError, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { type Actor, createAuditedActions } from '../admin/audited-action.ts'
import { lockActor } from '../credentials/password-check.ts'
import { field } from '../credentials/password-policy.ts'
import type { Revocation } from '../sessions/revocations.repo.ts'
import type { Revocations } from '../sessions/revocations.ts'
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
import type { ClientRevoker } from './revoke-client.ts'

export interface ClientInput {
  name: string
  roles?: string[]
  scopes?: string[]
  /** RFC 7517 set of public keys. With it the client signs assertions and has no secret. */
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

/** A secret is shown once. */
export type ClientWithSecret = { client: ClientView; client_secret?: string }

export interface ClientsDeps {
  db: Db
  audit: Audit
  clientRevoker: ClientRevoker
  revocations: Revocations
  metrics: Metrics
}

/** What is told of a locked client: tokens below `epoch` end. */
type Change<T> = (trx: Transaction, client: OAuthClient) => Promise<{ result: T; epoch: number }>

const MAX_LISTED = 1000
const NAME = /^[^\p{Cc}\p{Cs}]{1,64}$/u
const ROLE = /^[a-z][a-z0-9_.:-]{0,62}$/
/** RFC 6749 §3.3 */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/

export function createClients({ db, audit, clientRevoker, revocations, metrics }: ClientsDeps) {
  const { act, write } = createAuditedActions({ db, audit, metrics })

  async function create(input: ClientInput, by: Actor): Promise<ClientWithSecret> {
    const { name, roles = [], scopes = [] } = input
    assertFields({ name, roles, scopes })
    const secret = input.jwks === undefined ? makeSecret() : null
    const credential = secret === null ? keysOf(input.jwks) : secretOf(secret)
    const work = async (trx: Transaction) => {
      if (by.principal) await lockActor(trx, by.principal)
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
      await write(trx, { event: 'client_create', detail: made.id }, 'success', by)
      return made
    }
    const client = await act({ event: 'client_create' }, by, () => inTransaction(db, work).catch(throwTaken))
    return withSecret(client, secret)
  }

  /** Changes a locked client in one transaction with its audit row; tells every gateway afterwards. @param ref an id, or a name */
  async function change<T>(ref: string, event: string, by: Actor, work: Change<T>): Promise<T> {
    const found = isId(ref) ? await findClientById(db, ref) : NAME.test(ref) ? await findClientByName(db, ref) : undefined
    if (!found) throw problem('not_found')
    return act({ event, detail: found.id }, by, () => commit(found.id, event, by, work))
  }

  async function commit<T>(id: string, event: string, by: Actor, work: Change<T>): Promise<T> {
    const { result, revocation } = await inTransaction(db, async (trx): Promise<{ result: T; revocation: Revocation }> => {
      if (by.principal) await lockActor(trx, by.principal)
      const locked = await lockClient(trx, id)
      if (!locked) throw problem('not_found')
      await write(trx, { event, detail: id }, 'success', by)
      const { result, epoch } = await work(trx, locked)
      return { result, revocation: await clientRevoker.outdate(trx, id, epoch) }
    }).catch(throwTaken)
    await revocations.announce(revocation)
    return result
  }

  const set = (
    ref: string,
    event: string,
    by: Actor,
    values: (trx: Transaction) => ClientChange | Promise<ClientChange>,
  ): Promise<OAuthClient> =>
    change(ref, event, by, async (trx, { id }) => {
      const client = await updateClient(trx, id, await values(trx))
      return { result: client, epoch: client.token_epoch }
    })

  return {
    create,

    async list(): Promise<ClientView[]> {
      return (await listClients(db, MAX_LISTED)).map(viewOf)
    },

    /** New keys take the place of the old ones, and of a secret. */
    async update(ref: string, { jwks, ...fields }: Partial<ClientInput>, by: Actor): Promise<ClientView> {
      assertFields(fields)
      const keys = jwks === undefined ? {} : keysOf(jwks)
      return viewOf(await set(ref, 'client_update', by, () => ({ ...fields, ...keys })))
    },

    /** A new secret takes the place of the old one, and of keys. */
    async rotateSecret(ref: string, by: Actor): Promise<ClientWithSecret> {
      const secret = makeSecret()
      return withSecret(await set(ref, 'client_secret_rotate', by, () => secretOf(secret)), secret)
    },

    disable: async (ref: string, by: Actor) =>
      viewOf(await set(ref, 'client_disable', by, async (trx) => ({ disabled_at: await databaseNow(trx) }))),

    enable: async (ref: string, by: Actor) => viewOf(await set(ref, 'client_enable', by, () => ({ disabled_at: null }))),

    remove: (ref: string, by: Actor): Promise<void> =>
      change(ref, 'client_delete', by, async (trx, { id, token_epoch }) => {
        await deleteClient(trx, id)
        return { result: undefined, epoch: token_epoch + 1 }
      }),
  }
}

export type Clients = ReturnType<typeof createClients>

/** 256 bits: a plain hash of it cannot be searched. */
const makeSecret = () => `pcs_${randomBytes(32).toString('base64url')}`
const secretOf = (secret: string) => ({ secret_hash: secretHashOf(secret), jwks: null })
const keysOf = (jwks: unknown) => ({ secret_hash: null, jwks: JSON.stringify(readClientKeys(jwks)) })

function assertFields({ name, roles = [], scopes = [] }: Partial<ClientInput>): void {
  const errors: FieldError[] = []
  if (name !== undefined && (!NAME.test(name) || isId(name))) errors.push(...field('name', 'must be 1 to 64 characters, and no id'))
  for (const role of roles)
    if (!ROLE.test(role)) errors.push(...field('roles', `${JSON.stringify(role)} is not a role name: a-z, digits, _ . : -`))
  for (const scope of scopes)
    if (!SCOPE.test(scope)) errors.push(...field('scopes', `${JSON.stringify(scope)} is not a scope (RFC 6749 §3.3)`))
  if (errors.length) throw problem('validation_failed', { errors })
}

function throwTaken(error: unknown): never {
  if (brokenConstraint(error) === 'clients_name_key') throw problem('validation_failed', { errors: field('name', 'is taken') })
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
