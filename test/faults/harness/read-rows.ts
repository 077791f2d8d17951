/** The rows of the fault matrix, in the order of the table. */
import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { FaultRow } from './fault-row.ts'
import { rankOf } from './table.ts'

const FOLDER = new URL('../rows/', import.meta.url)

export async function readRows(): Promise<FaultRow[]> {
  const files = globSync('*.ts', { cwd: fileURLToPath(FOLDER) })
  const rows: FaultRow[] = await Promise.all(files.map(async (file) => (await import(new URL(file, FOLDER).href)).row))
  return rows.sort((a, b) => rankOf(a.id) - rankOf(b.id))
}
