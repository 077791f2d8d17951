import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The absolute path of a file of the package; works from `src/` and from the built `dist/src/`. @param path relative to the root */
export function packageFile(path: string): string {
  const [source, built] = ['../../../', '../../../../'].map((up) => fileURLToPath(new URL(up + path, import.meta.url)))
  return existsSync(source!) ? source! : built!
}

export const VERSION: string = (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }).version
