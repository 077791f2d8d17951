import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { DeviceTable } from '../../platform/db/tables.ts'

export type Device = Selectable<DeviceTable>

export const findDeviceByToken = (db: Db, hash: Buffer): Promise<Device | undefined> =>
  db
    .selectFrom('devices')
    .innerJoin('device_tokens', 'device_tokens.device_id', 'devices.id')
    .selectAll('devices')
    .where('token_hash', '=', hash)
    .executeTakeFirst()

/** @returns whether a device of the user was seen in this network within `days` */
export async function wasSeenIn(db: Db, userId: string, network: string, days: number): Promise<boolean> {
  const seen = await db
    .selectFrom('devices')
    .innerJoin('device_networks as n', 'n.device_id', 'devices.id')
    .select('id')
    .where('user_id', '=', userId)
    .where('n.network', '=', network)
    .where('n.last_seen_at', '>', sql<Date>`clock_timestamp() - make_interval(days => ${days}::int)`)
    .limit(1)
    .executeTakeFirst()
  return seen !== undefined
}

/** The most recently seen device comes first. */
export const findDevicesOf = (trx: Transaction, userId: string): Promise<Device[]> =>
  trx.selectFrom('devices').selectAll().where('user_id', '=', userId).orderBy('last_seen_at', 'desc').execute()

export const insertDevice = (trx: Transaction, device: Device) => trx.insertInto('devices').values(device).execute()

export const updateDevice = (trx: Transaction, id: string, change: Pick<Device, 'network' | 'user_agent' | 'last_seen_at'>) =>
  trx.updateTable('devices').set(change).where('id', '=', id).execute()

/** The devices of a user that were seen in a network. */
export async function findDeviceIdsIn(trx: Transaction, userId: string, network: string): Promise<Set<string>> {
  const found = await trx
    .selectFrom('devices')
    .innerJoin('device_networks as n', 'n.device_id', 'devices.id')
    .select('id')
    .where('user_id', '=', userId)
    .where('n.network', '=', network)
    .execute()
  return new Set(found.map(({ id }) => id))
}

/** Remembers a network of a device. The networks that were unseen for longest are forgotten. */
export async function addDeviceNetwork(trx: Transaction, deviceId: string, network: string, at: Date, max: number): Promise<void> {
  await trx
    .insertInto('device_networks')
    .values({ device_id: deviceId, network, last_seen_at: at })
    .onConflict((c) => c.columns(['device_id', 'network']).doUpdateSet({ last_seen_at: at }))
    .execute()
  const newest = trx
    .selectFrom('device_networks')
    .select('network')
    .where('device_id', '=', deviceId)
    .orderBy('last_seen_at', 'desc')
    .limit(max)
  await trx.deleteFrom('device_networks').where('device_id', '=', deviceId).where('network', 'not in', newest).execute()
}

export const markDeviceToken = (trx: Transaction, hash: Buffer, at: Date) =>
  trx.updateTable('device_tokens').set({ presented_at: at }).where('token_hash', '=', hash).execute()

/** Adds a token of a device. The tokens that were never presented are forgotten first, then those that were unused for longest. */
export async function addDeviceToken(trx: Transaction, deviceId: string, hash: Buffer, at: Date, max: number): Promise<void> {
  const kept = trx
    .selectFrom('device_tokens')
    .select('token_hash')
    .where('device_id', '=', deviceId)
    .orderBy('presented_at', (o) => o.desc().nullsLast())
    .orderBy('created_at', 'desc')
    .limit(max - 1)
  await trx.deleteFrom('device_tokens').where('device_id', '=', deviceId).where('token_hash', 'not in', kept).execute()
  await trx.insertInto('device_tokens').values({ token_hash: hash, device_id: deviceId, created_at: at, presented_at: null }).execute()
}

export const deleteDevice = (trx: Transaction, id: string) => trx.deleteFrom('devices').where('id', '=', id).execute()

export const deleteDevicesOf = (trx: Transaction, userId: string) => trx.deleteFrom('devices').where('user_id', '=', userId).execute()

export const deleteDevicesUnseenSince = (db: Db, before: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'devices', 'last_seen_at', before, limit)
