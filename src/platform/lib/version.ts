import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A file of the package by its path from the root, from `src/` as well as from the built `dist/src/`. */
export function packageFile(path: string): string {
  const [source, built] = ['../../../', '../../../../'].map((up) => fileURLToPath(new URL(up + path, import.meta.url)))
  return existsSync(source!) ? source! : built!
}

export const VERSION: string = (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }).version
