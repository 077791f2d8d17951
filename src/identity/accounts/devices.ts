/**
 * Devices that users have logged in from. A device is known by its token, or by a network with a successful login within 30 days. A device
 * may have several tokens and networks. Known devices have their own budget of attempts and their own queue for password hashes. The user
 * gets a mail about a new device.
 */
import { createHash, randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { networkOf } from '../../platform/request/client-address.ts'
import type { Known } from '../credentials/credential-limits.ts'
import type { User } from '../users/users.repo.ts'
import {
  addDeviceNetwork,
  addDeviceToken,
  type Device,
  deleteDevice,
  findDeviceByToken,
  findDeviceIdsIn,
  findDevicesOf,
  insertDevice,
  markDeviceToken,
  updateDevice,
  wasSeenIn,
} from './devices.repo.ts'

/** Where a login comes from. */
export interface Origin {
  /** Two letters. Null: unknown. */
  country: string | null
  /** The user gets a mail, also if the device is known. */
  isNewCountry: boolean
}

export interface Devices {
  /** Finds the device with this token, of any user. */
  find(token: string): Promise<Device | null>
  /** Recognises a device by the user's own device token, else by a network with a successful login of the user. */
  recognise(user: Pick<User, 'id'>, presented: Device | null, ip: string | null): Promise<Known | null>
  /** Stores the device after a login. @returns the device and its token, which is new unless the presented token is valid */
  remember(
    trx: Transaction,
    user: User,
    presented: { token: string | undefined; device: Device | null },
    from: Origin,
    context: AuditContext,
  ): Promise<{ deviceId: string; deviceToken: string }>
}

const PREFIX = 'dt_'
const FORM = /^dt_[A-Za-z0-9_-]{43}$/
const KNOWN_DAYS = 30
/** Per user. The devices that were unseen for longest are deleted. */
const MAX_DEVICES = 20
/** Per device: a laptop at home, at work and on the way. */
const MAX_NETWORKS = 10
/** Per device. Each login without a token gets a new token. */
const MAX_TOKENS = 50
const MAX_USER_AGENT = 256
const hashOf = (token: string) => createHash('sha256').update(token).digest()

export function createDevices({ db, outbox }: { db: Db; outbox: Outbox }): Devices {
  async function find(token: string): Promise<Device | null> {
    return FORM.test(token) ? ((await findDeviceByToken(db, hashOf(token))) ?? null) : null
  }

  async function recognise(user: Pick<User, 'id'>, presented: Device | null, ip: string | null): Promise<Known | null> {
    if (presented?.user_id === user.id) return { kind: 'device', id: presented.id }
    const network = networkOf(ip)
    return network !== null && (await wasSeenIn(db, user.id, network, KNOWN_DAYS)) ? { kind: 'network', id: network } : null
  }

  async function remember(
    trx: Transaction,
    user: User,
    { token, device: presented }: { token: string | undefined; device: Device | null },
    { country, isNewCountry }: Origin,
    context: AuditContext,
  ) {
    const notify = (template: 'new_device' | 'new_country', key: string, at: Date) => {
      const data = { ...noticeContextOf(at, context), country }
      return outbox.post(trx, { template, data, to: user.email, userId: user.id, key })
    }
    const now = await databaseNow(trx)
    const network = networkOf(context.ip)
    const userAgent = context.userAgent?.slice(0, MAX_USER_AGENT) ?? null
    const others = await findDevicesOf(trx, user.id)
    const own = presented && others.find(({ id }) => id === presented.id)
    const here = network === null ? null : await findDeviceIdsIn(trx, user.id, network)
    // a client that keeps no token must not become a new device at each login
    const known = own ?? others.find((d) => (here ? here.has(d.id) : d.network === null) && d.user_agent === userAgent)
    const id = known?.id ?? uuidv7()
    const seen = { network, user_agent: userAgent, last_seen_at: now }
    if (known) await updateDevice(trx, id, seen)
    else await insertDevice(trx, { id, user_id: user.id, first_seen_at: now, ...seen })
    if (network !== null) await addDeviceNetwork(trx, id, network, now, MAX_NETWORKS)

    const deviceToken = own && token ? token : PREFIX + randomBytes(32).toString('base64url')
    if (own && token) await markDeviceToken(trx, hashOf(token), now)
    // the token that another client of this device keeps stays valid
    else await addDeviceToken(trx, id, hashOf(deviceToken), now, MAX_TOKENS)
    // the user needs no mail about the first device
    if (!known && others.length > 0) await notify('new_device', `new_device:${id}`, now)
    else if (isNewCountry) await notify('new_country', `new_country:${uuidv7()}`, now)
    if (known) return { deviceId: id, deviceToken }

    for (const surplus of others.slice(MAX_DEVICES - 1)) await deleteDevice(trx, surplus.id)
    return { deviceId: id, deviceToken }
  }

  return { find, recognise, remember }
}
