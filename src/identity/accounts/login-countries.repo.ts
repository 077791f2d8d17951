import type { Transaction } from '../../platform/db/database.ts'

export async function findCountriesOf(trx: Transaction, userId: string): Promise<Map<string, Date>> {
  const rows = await trx.selectFrom('user_countries').select(['country', 'seen_at']).where('user_id', '=', userId).execute()
  return new Map(rows.map(({ country, seen_at }) => [country, seen_at]))
}

export const rememberCountry = (trx: Transaction, userId: string, country: string, at: Date) =>
  trx
    .insertInto('user_countries')
    .values({ user_id: userId, country, seen_at: at })
    .onConflict((c) => c.columns(['user_id', 'country']).doUpdateSet({ seen_at: at }))
    .execute()

export const forgetCountry = (trx: Transaction, userId: string, country: string) =>
  trx.deleteFrom('user_countries').where('user_id', '=', userId).where('country', '=', country).execute()

export const forgetCountriesOf = (trx: Transaction, userId: string) =>
  trx.deleteFrom('user_countries').where('user_id', '=', userId).execute()
