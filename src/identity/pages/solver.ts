/** The solver of ALTCHA for browsers: the modules of the library as they are, and a few lines that call them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Asset } from './assets.ts'

export interface Solver {
  /** The path of the module with `solve`, below `{prefix}/ui/`. */
  path: string
  files: readonly Asset[]
}

/** What `solve.js` imports, directly or not, below the folder of the library's version 2. */
const MODULES = ['pow.js', 'helpers.js', 'types.js', 'algorithms/web/pbkdf2.js']
const OWN = 'solve.js'

/** @throws when the library has another structure than expected */
export function readSolver(): Solver {
  const library = new URL('../../esm/v2/', pathToFileURL(createRequire(import.meta.url).resolve('altcha-lib')))
  const files = [
    { name: OWN, content: readFileSync(new URL(`assets/${OWN}`, import.meta.url)) },
    ...MODULES.map((name) => ({ name, content: readFileSync(new URL(name, library)) })),
  ]
  // the modules name each other, so that all of them share one folder
  const hash = createHash('sha256')
  for (const { content } of files) hash.update(content)
  const folder = `assets/altcha.${hash.digest('hex').slice(0, 12)}`
  return {
    path: `${folder}/${OWN}`,
    files: files.map(({ name, content }) => ({ path: `${folder}/${name}`, type: 'text/javascript; charset=utf-8', content })),
  }
}
