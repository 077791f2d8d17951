/** The country of a client, by the address behind trusted proxies. */
import { isIP } from 'node:net'
import type { Client } from '../request/client-address.ts'
import type { CountryDatabase } from './country-database.ts'

export interface Geo {
  /** False without `geo.database`: no country is known. */
  isConfigured: boolean
  /**
   * @returns the code of ISO 3166-1. Null: unknown. That is a client without a country in the database, such as a private address, and a
   * client behind a proxy that does not say who it is
   */
  countryOf(client: Pick<Client, 'address' | 'isReadable' | 'isProxy'>): string | null
}

export const NO_GEO: Geo = { isConfigured: false, countryOf: () => null }

export const createGeo = ({ countryOf }: Pick<CountryDatabase, 'countryOf'>): Geo => ({
  isConfigured: true,
  countryOf: ({ address, isReadable, isProxy }) => {
    const isKnown = isReadable && !isProxy && isIP(address) !== 0
    return isKnown ? countryOf(MAPPED.test(address) ? ipv4Of(address) : address) : null
  },
})

/** `plainAddress` has unmapped the dotted form. */
const MAPPED = /^(?:::|(?:0{1,4}:){5})ffff:[\da-f]{1,4}:[\da-f]{1,4}$/i

function ipv4Of(address: string): string {
  const [high = '0', low = '0'] = address.split(':').slice(-2)
  const value = Number.parseInt(high, 16) * 0x10000 + Number.parseInt(low, 16)
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')
}
