/** Queries the gateway's own database directly, on either store, where the product has no function for it. */
import { CompiledQuery } from 'kysely'
import type { Gateway } from './gateway.ts'

export async function rows<R extends object = any>(gateway: Pick<Gateway, 'app'>, text: string, values: unknown[] = []): Promise<R[]> {
  return (await gateway.app.platform.db.executeQuery<R>(CompiledQuery.raw(text, values))).rows
}

/** Every row of every table, as text: everything that the thief of a database copy could read. */
export async function dump(gateway: Pick<Gateway, 'app'>): Promise<string> {
  const tables = await rows<{ name: string }>(
    gateway,
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  )
  const texts = await Promise.all(tables.map(({ name }) => rows<{ row: string }>(gateway, `SELECT t::text AS row FROM ${name} t`)))
  return texts
    .flat()
    .map((r) => r.row)
    .join('\n')
}
