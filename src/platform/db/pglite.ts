/** The embedded database: Postgres in this process, in one folder, for one process. */
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'

export interface EmbeddedDatabase {
  pglite: PGlite
  release(): Promise<void>
}

/** @throws when another living process has the folder. PGlite itself does not look. */
export async function openPGlite(dataDir: string): Promise<EmbeddedDatabase> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const release = await lockFolder(join(dataDir, 'portcullis.lock'))
  try {
    // without a cap PGlite takes 128 MiB for buffers
    const pglite = await PGlite.create({
      dataDir: join(dataDir, 'pglite'),
      startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB'],
    })
    return { pglite, release }
  } catch (error) {
    await release()
    throw error
  }
}

/**
 * The lock is a socket that its owner listens on: it ends with the process, however that ended. Process ids would not do, since in
 * containers that share a volume everybody is process 1.
 */
async function lockFolder(file: string): Promise<() => Promise<void>> {
  for (let attempt = 0; ; attempt++) {
    const server = net.createServer((peer) => peer.on('error', () => {}).end(String(process.pid)))
    try {
      server.listen(file)
      await once(server, 'listening')
      server.unref()
      return async () => {
        server.close()
        await once(server, 'close')
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt > 0) throw error
      const owner = await askOwner(file)
      if (owner !== null)
        throw new Error(`the data folder is in use by ${owner} (${file}): stop that process, or use postgres:// for several`)
      // left behind by a process that was killed
      rmSync(file, { force: true })
    }
  }
}

/** Who listens, or null when nobody does. A busy owner may be too late to tell its id. */
function askOwner(file: string): Promise<string | null> {
  return new Promise((resolve) => {
    let text = ''
    const socket = net.connect(file)
    socket.setTimeout(2000, () => socket.destroy(new Error('it listens, and does not answer')))
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === undefined ? 'another process' : null))
    socket.on('close', () => resolve(text ? `process ${text}` : 'another process'))
  })
}
