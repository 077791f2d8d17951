/** Keeps compiled code between starts: a start then needs about half of the CPU time. */
import { enableCompileCache, flushCompileCache } from 'node:module'
import { dirname, join } from 'node:path'
import { packageFile } from './version.ts'

/**
 * Call it before other modules are loaded. The folder is beside the packages, and as trusted as they are. Where it cannot be written, as in a
 * read-only image, nothing is kept. `NODE_DISABLE_COMPILE_CACHE=1` turns it off.
 */
export function keepCompiledCode(): void {
  const folder = process.env.NODE_COMPILE_CACHE ?? join(dirname(packageFile('package.json')), 'node_modules', '.cache', 'portcullis')
  enableCompileCache(folder)
  // for the processes that this process starts
  process.env.NODE_COMPILE_CACHE = folder
}

/** Node writes the folder when a process ends. A process that is killed would leave nothing. The first time it takes half a second, in which nothing else runs. */
export const writeCompiledCode = (): void => flushCompileCache()
