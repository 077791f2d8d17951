/** Queries the gateway's own database directly, on either store, where the product has no function for it. */
import { CompiledQuery } from 'kysely'
import type { Gateway } from './gateway.ts'
import { query } from './postgres.ts'

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

/** Every row of every table of a Postgres, as text and in an order: what a command must not change. */
export async function everyRow(databaseUrl: string): Promise<string> {
  const tables = await query(
    databaseUrl,
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
  )
  const texts = []
  for (const { name } of tables) texts.push(await query(databaseUrl, `SELECT t::text AS row FROM ${name} t ORDER BY 1`))
  return JSON.stringify(texts)
}
