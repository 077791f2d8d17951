/** The embedded database: Postgres in this process, in one folder, for one process. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'

export interface EmbeddedDatabase {
  pglite: PGlite
  release(): void
}

/** @throws when another living process has the folder. PGlite itself does not look. */
export async function openPGlite(dataDir: string): Promise<EmbeddedDatabase> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const release = lockFolder(join(dataDir, 'portcullis.lock'))
  try {
    // without a cap PGlite takes 128 MiB for buffers
    const pglite = await PGlite.create({
      dataDir: join(dataDir, 'pglite'),
      startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB'],
    })
    return { pglite, release }
  } catch (error) {
    release()
    throw error
  }
}

function lockFolder(file: string): () => void {
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx', mode: 0o600 })
      return () => rmSync(file, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const owner = Number(readFileSync(file, 'utf8').trim())
      if (attempt > 0 || (owner && owner !== process.pid && isAlive(owner))) {
        throw new Error(`the data folder is in use by process ${owner} (${file}): stop that process, or use postgres:// for several`)
      }
      // left behind by a process that was killed
      rmSync(file, { force: true })
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
