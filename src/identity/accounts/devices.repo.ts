import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { DeviceTable } from '../../platform/db/tables.ts'

export type Device = Selectable<DeviceTable>

export const findDeviceByToken = (db: Db, hash: Buffer): Promise<Device | undefined> =>
  db.selectFrom('devices').selectAll().where('token_hash', '=', hash).executeTakeFirst()

/** @returns whether a device of the user was seen in this network within `days` */
export async function wasSeenIn(db: Db, userId: string, network: string, days: number): Promise<boolean> {
  const seen = await db
    .selectFrom('devices')
    .select('id')
    .where('user_id', '=', userId)
    .where('network', '=', network)
    .where('last_seen_at', '>', sql<Date>`clock_timestamp() - make_interval(days => ${days}::int)`)
    .limit(1)
    .executeTakeFirst()
  return seen !== undefined
}

/** The most recently seen device comes first. */
export const findDevicesOf = (trx: Transaction, userId: string): Promise<Device[]> =>
  trx.selectFrom('devices').selectAll().where('user_id', '=', userId).orderBy('last_seen_at', 'desc').execute()

export const insertDevice = (trx: Transaction, device: Device) => trx.insertInto('devices').values(device).execute()

export const updateDevice = (
  trx: Transaction,
  id: string,
  change: Pick<Device, 'token_hash' | 'network' | 'user_agent' | 'last_seen_at'>,
) => trx.updateTable('devices').set(change).where('id', '=', id).execute()

export const deleteDevice = (trx: Transaction, id: string) => trx.deleteFrom('devices').where('id', '=', id).execute()

export const deleteDevicesOf = (trx: Transaction, userId: string) => trx.deleteFrom('devices').where('user_id', '=', userId).execute()

export const deleteDevicesUnseenSince = (db: Db, before: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'devices', 'last_seen_at', before, limit)
