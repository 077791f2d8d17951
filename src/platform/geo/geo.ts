/** The country of a client, by the address behind trusted proxies. */
import { isIP } from 'node:net'
import { type Client, plainAddress } from '../request/client-address.ts'
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
    return isKnown ? countryOf(plainAddress(address)) : null
  },
})
