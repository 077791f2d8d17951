/**
 * The countries that users log in from. `auth.newCountry` says what follows from a login from a country that the account has not logged in
 * from. Only the two letters of a country are stored. They come from the address, which may belong to a proxy or a VPN.
 *
 * - `notify`: the user gets a mail.
 * - `factor`: the login must show a second factor, or that the user reads the mailbox. Without both, a mailed link confirms the country.
 * - `deny`: the login is refused, and the user gets a mail.
 *
 * The first login of an account is never from a new country. An unknown country is never known, so that `factor` and `deny` hold for it, too.
 */
import type { Config } from '../../platform/config/schema.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Geo } from '../../platform/geo/geo.ts'
import type { Client } from '../../platform/request/client-address.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { showsFactor } from '../tokens/amr.ts'
import type { User } from '../users/users.repo.ts'
import { findCountriesOf, forgetCountry, rememberCountry } from './login-countries.repo.ts'

/** `known`: nothing follows. `new`: the login passes, and the user gets a mail. */
export type CountryVerdict = 'known' | 'new' | 'unconfirmed' | 'refused'

/** What tells the country of a request. A command has no client. */
export interface Sender {
  client?: Client | undefined
}

export interface LoginCountries {
  /** @returns two letters; null: unknown */
  countryOf(sender: Sender): string | null
  /** Judges a login whose credentials are right. @param user locked by this transaction. @param amr what the login has shown */
  judge(trx: Transaction, user: Pick<User, 'id'>, amr: readonly string[], sender: Sender): Promise<CountryVerdict>
  remember(trx: Transaction, userId: string, sender: Sender): Promise<void>
  /** What a link will confirm. Null: a link confirms no country. */
  toConfirm(sender: Sender): string | null
  /** After a link of the user was used. @param country from `toConfirm` */
  confirm(trx: Transaction, userId: string, country: string): Promise<void>
}

export interface LoginCountriesDeps {
  geo: Geo
  mode: Config['auth']['newCountry']
  metrics: Pick<Metrics, 'newCountryLogins'>
}

/** ISO 3166-1 leaves it to its users. A confirmed login from an unknown country. It counts once. */
export const UNKNOWN_COUNTRY = 'ZZ'
const CONFIRMED_MS = 1_800_000

export function createLoginCountries({ geo, mode = 'notify', metrics }: LoginCountriesDeps): LoginCountries {
  const countryOf = ({ client }: Sender) => (client ? geo.countryOf(client) : null)

  /** @returns whether a link has confirmed a login from an unknown country a short time ago. It is used up */
  async function takeConfirmation(trx: Transaction, userId: string, at: Date | undefined): Promise<boolean> {
    if (at === undefined) return false
    await forgetCountry(trx, userId, UNKNOWN_COUNTRY)
    return (await databaseNow(trx)).getTime() - at.getTime() <= CONFIRMED_MS
  }

  async function isNew(trx: Transaction, userId: string, country: string | null): Promise<boolean> {
    const countries = await findCountriesOf(trx, userId)
    const confirmedAt = countries.get(UNKNOWN_COUNTRY)
    countries.delete(UNKNOWN_COUNTRY)
    if (countries.size === 0) return false
    if (country !== null) return !countries.has(country)
    return mode !== 'notify' && !(await takeConfirmation(trx, userId, confirmedAt))
  }

  return {
    countryOf,
    async judge(trx, { id }, amr, sender) {
      if (!geo.isConfigured) return 'known'
      if (!(await isNew(trx, id, countryOf(sender)))) return 'known'
      // who reads the mailbox has shown already what the mailed link would show
      const isProven = showsFactor(amr) || amr.includes('email')
      const verdict = mode === 'deny' ? 'refused' : mode === 'factor' && !isProven ? 'unconfirmed' : 'new'
      metrics.newCountryLogins.inc({ outcome: OUTCOMES[verdict] })
      return verdict
    },
    async remember(trx, userId, sender) {
      const country = countryOf(sender)
      if (country !== null) await rememberCountry(trx, userId, country, await databaseNow(trx))
    },
    toConfirm: (sender) => (geo.isConfigured && mode === 'factor' ? (countryOf(sender) ?? UNKNOWN_COUNTRY) : null),
    confirm: async (trx, userId, country) => void (await rememberCountry(trx, userId, country, await databaseNow(trx))),
  }
}

const OUTCOMES = { new: 'success', unconfirmed: 'email_confirmation_required', refused: 'country_refused' } as const
