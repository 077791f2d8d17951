/** Makes a backup of the database. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { Command } from 'commander'
import { fileErrorText } from '../platform/lib/errors.ts'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { type Services, withServices } from './services.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage.ts'

export const backupCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(
      new Command('backup').description('writes accounts, keys and the audit log into a file').argument('<FILE>', '- is standard output'),
    ),
    `
portcullis backup portcullis.backup.gz
portcullis backup - > portcullis.backup.gz
`,
    `The gateway may run meanwhile. The backup holds password hashes and e-mail addresses: only its owner can read the file.
Keep PORTCULLIS_SECRET_KEY at another place: a restore needs the key, and the backup does not hold it.`,
  ).action((file: string, args: ConfigArgs) => (terminal.gateway ? inGateway(terminal, args) : backup(terminal, file, args)))

/** The process that was called compresses what the gateway writes, and opens the file. */
const inGateway = (terminal: Terminal, args: ConfigArgs) =>
  withServices(terminal, args, (services) => write(terminal, services), { needsKeys: false })

async function backup(terminal: Terminal, file: string, args: ConfigArgs): Promise<void> {
  const output = file === '-' ? standardOutput(terminal) : await newFile(file)
  const compressed = createGzip()
  const written = pipeline(compressed, output.stream, { end: file !== '-' })
  // the failure of the work is the one to report
  written.catch(() => {})
  const inner: Terminal = Object.assign(Object.create(terminal), { io: { ...terminal.io, stdout: compressed } })
  try {
    await withServices(inner, args, (services) => write(inner, services), { needsKeys: false })
    terminal.exitCode = inner.exitCode
    compressed.end()
    await written
    if (terminal.exitCode === 0) await output.finish()
  } finally {
    compressed.destroy()
    await output.discard()
  }
}

interface Output {
  stream: Writable
  /** The backup is whole. */
  finish(): Promise<void>
  /** Removes what is not whole. */
  discard(): Promise<void>
}

function standardOutput({ io }: Terminal): Output {
  if (io.stdout.isTTY)
    throw new UsageError('a backup is not text: send it to a file or to another program, as in portcullis backup - | gpg -e -r KEY > FILE')
  return { stream: io.stdout, finish: async () => {}, discard: async () => {} }
}

/** The file gets its name once it is whole and on the disk. Two backups at the same time do not share a file. */
async function newFile(file: string): Promise<Output> {
  if (existsSync(file)) throw existsAlready(file)
  const part = `${file}.${randomUUID()}.part`
  let handle: FileHandle
  try {
    handle = await open(part, 'wx', 0o600)
  } catch (error) {
    throw new UsageError(`${file}: cannot be written: ${fileErrorText(error)}`)
  }
  return {
    stream: handle.createWriteStream({ flush: true }),
    async finish() {
      try {
        // unlike a rename, this replaces no file that was made meanwhile
        await link(part, file)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw existsAlready(file)
        // a file system without hard links
        await rename(part, file)
      }
    },
    async discard() {
      await handle.close().catch(() => {})
      await rm(part, { force: true })
    },
  }
}

const existsAlready = (file: string) => new UsageError(`${file} exists already: name a new file`)

/** @throws when the destination has failed */
async function send(stream: Writable, text: string): Promise<void> {
  if (stream.write(text)) return
  if (stream.destroyed) throw stream.errored ?? new Error('the destination of the backup is closed')
  const closing = new AbortController()
  const close = () => closing.abort()
  stream.once('close', close)
  try {
    await once(stream, 'drain', { signal: closing.signal })
  } catch (error) {
    throw stream.errored ?? error
  } finally {
    stream.off('close', close)
  }
}

async function write({ io, complain }: Terminal, { platform: { db, database, secrets, audit }, by }: Services): Promise<void> {
  const [{ writeBackup }, { createKeySealing }, { inTransaction }] = await Promise.all([
    import('../platform/backup/write-backup.ts'),
    import('../identity/tokens/key-sealing.ts'),
    import('../platform/db/database.ts'),
  ])
  const { head, rows } = await writeBackup({ database, secrets, readCanary: createKeySealing(secrets).readCanary }, (text) =>
    send(io.stdout, text),
  )
  const { actor, context } = by
  await inTransaction(db, (trx) => audit.record(trx, { event: 'backup', outcome: 'success', actor, detail: `${rows} rows`, context }))
  complain(
    `${rows} rows of ${head.created_at}, schema ${head.schema}; a restore needs the secret key with the key id ${head.secret_key_id}`,
  )
  if (head.audit_head) complain(`head of the audit log ${head.audit_head}`)
}
