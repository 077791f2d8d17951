import { type Insertable, type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import type { ClientTable } from '../../platform/db/tables.ts'

export type OAuthClient = Selectable<ClientTable>

export const insertClient = (trx: Transaction, client: Omit<Insertable<ClientTable>, 'token_epoch'>): Promise<OAuthClient> =>
  trx.insertInto('clients').values(client).returningAll().executeTakeFirstOrThrow()

export const findClientById = (db: Db | Transaction, id: string): Promise<OAuthClient | undefined> =>
  db.selectFrom('clients').selectAll().where('id', '=', id).executeTakeFirst()

export const findClientByName = (db: Db, name: string): Promise<OAuthClient | undefined> =>
  db.selectFrom('clients').selectAll().where('name', '=', name).executeTakeFirst()

export const listClients = (db: Db, limit: number): Promise<OAuthClient[]> =>
  db.selectFrom('clients').selectAll().orderBy('name').limit(limit).execute()

export const lockClient = (trx: Transaction, id: string): Promise<OAuthClient | undefined> =>
  trx.selectFrom('clients').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst()

export type ClientChange = Partial<Pick<OAuthClient, 'name' | 'roles' | 'scopes' | 'secret_hash' | 'jwks' | 'disabled_at'>>

/** Raises the epoch, which outdates older tokens of the machine client. */
export const updateClient = (trx: Transaction, id: string, change: ClientChange): Promise<OAuthClient> =>
  trx
    .updateTable('clients')
    .set({ ...change, token_epoch: sql`token_epoch + 1` })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()

export const deleteClient = (trx: Transaction, id: string) => trx.deleteFrom('clients').where('id', '=', id).execute()

/** Writes at most once a minute, so that parallel token requests of a machine client do not wait for each other. */
export const touchClient = (trx: Transaction, id: string) =>
  trx
    .updateTable('clients')
    .set({ last_used_at: sql`clock_timestamp()` })
    .where('id', '=', id)
    .where((e) => e.or([e('last_used_at', 'is', null), e('last_used_at', '<', sql<Date>`clock_timestamp() - interval '1 minute'`)]))
    .execute()
