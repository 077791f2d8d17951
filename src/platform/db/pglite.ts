/** The embedded database: Postgres inside this process, with one data folder. Only one process can use the folder. */
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { PGlite, types } from '@electric-sql/pglite'
import { embeddedFolder } from './describe-database.ts'

export interface EmbeddedDatabase {
  pglite: PGlite
  release(): Promise<void>
}

/** @throws when another running process uses the folder. PGlite itself does not check. */
export async function openPGlite(dataDir: string): Promise<EmbeddedDatabase> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const release = await lockFolder(join(dataDir, 'portcullis.lock'))
  try {
    // by default PGlite takes 128 MiB for buffers
    const pglite = await PGlite.create({
      dataDir: embeddedFolder(dataDir),
      startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB'],
      // as the driver of a Postgres server does
      parsers: { [types.BYTEA]: (hex) => Buffer.from(hex.slice(2), 'hex') },
    })
    return { pglite, release }
  } catch (error) {
    await release()
    throw error
  }
}

/**
 * The lock is a socket on which its owner listens. It ends with the process, also after a crash. A file with a process id would not do: in
 * containers that share a volume, every gateway is process 1.
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
      // a killed process leaves its socket file behind
      rmSync(file, { force: true })
    }
  }
}

/** The process that listens, or null without a listener. A busy owner may not send its id in time. */
function askOwner(file: string): Promise<string | null> {
  return new Promise((resolve) => {
    let text = ''
    const socket = net.connect(file)
    socket.setTimeout(2000, () => socket.destroy(new Error('the owner of the folder does not answer')))
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === undefined ? 'another process' : null))
    socket.on('close', () => resolve(text ? `process ${text}` : 'another process'))
  })
}
