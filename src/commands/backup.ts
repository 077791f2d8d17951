/** Makes a backup of the database. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
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
  /** Removes what is not whole. After `finish` it does nothing. */
  discard(): Promise<void>
}

function standardOutput({ io }: Terminal): Output {
  if (io.stdout.isTTY)
    throw new UsageError('a backup is not text: send it to a file or to another program, as in portcullis backup - | gpg -e -r KEY > FILE')
  return { stream: io.stdout, finish: async () => {}, discard: async () => {} }
}

/** The file gets its name once it is whole and on the disk. */
async function newFile(file: string): Promise<Output> {
  if (existsSync(file)) throw new UsageError(`${file} exists already: name a new file`)
  const part = `${file}.part`
  let handle: FileHandle
  try {
    handle = await open(part, 'w', 0o600)
  } catch (error) {
    throw new UsageError(`${part}: cannot be written: ${fileErrorText(error)}`)
  }
  let isWhole = false
  return {
    stream: handle.createWriteStream({ flush: true }),
    async finish() {
      await rename(part, file)
      isWhole = true
    },
    async discard() {
      await handle.close().catch(() => {})
      if (!isWhole) await rm(part, { force: true })
    },
  }
}

async function write({ io, complain }: Terminal, { platform: { db, database, secrets, audit }, by }: Services): Promise<void> {
  const [{ writeBackup }, { inTransaction }] = await Promise.all([
    import('../platform/backup/write-backup.ts'),
    import('../platform/db/database.ts'),
  ])
  const { head, rows } = await writeBackup({ database, secrets }, async (text) => {
    if (!io.stdout.write(text)) await once(io.stdout, 'drain')
  })
  const { actor, context } = by
  await inTransaction(db, (trx) => audit.record(trx, { event: 'backup', outcome: 'success', actor, detail: `${rows} rows`, context }))
  complain(
    `${rows} rows of ${head.created_at}, schema ${head.schema}; a restore needs the secret key with the key id ${head.secret_key_id}`,
  )
  if (head.audit_head) complain(`head of the audit log ${head.audit_head}`)
}
