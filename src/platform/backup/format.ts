/**
 * The format of a backup: lines of JSON, compressed with gzip.
 *
 *   {"portcullis_backup":1,"version":"1.0.0","schema":"0023-login-countries",…}      the head
 *   ["users",["id","username",…]]                                                    a table and its columns
 *   {"id":"0190…","username":"ann",…}                                                a row of it
 *   ["end",1234,"<key id>.<MAC>"]                                                    the number of rows, and a MAC of all lines before
 *
 * The MAC is made with PORTCULLIS_SECRET_KEY. Who does not have the key can neither change a backup nor make one.
 */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Secrets } from '../vault/secrets.ts'

export const FORMAT = 1

/** The backup cannot be made or used. The message says why, and what to do. */
export class BackupError extends Error {}

export interface BackupHead {
  portcullis_backup: typeof FORMAT
  /** Of the program that made it. */
  version: string
  /** The newest step of the schema. */
  schema: string
  /** RFC 3339, by the clock of the database. */
  created_at: string
  /** The key that seals the secrets in the database. */
  secret_key_id: string
  /** The head of the audit log, as `portcullis audit verify --head` takes it. Null: nothing was sealed. */
  audit_head: string | null
}

/** What a reader of a backup meets, in this order: the head, and for each table its name and then its rows. */
export type BackupPart =
  | { kind: 'head'; head: BackupHead }
  | { kind: 'table'; name: string; columns: string[] }
  /** Rows of the last table, as JSON. */
  | { kind: 'rows'; rows: string[] }

/** Collects what the MAC is made of. */
export function createSeal(secrets: Secrets) {
  const hash = createHash('sha256')
  let rows = 0
  return {
    add(text: string, addedRows = 0): void {
      hash.update(text)
      rows += addedRows
    },
    rows: () => rows,
    line: (): string => `${JSON.stringify(['end', rows, secrets.mac(PURPOSE, hash.digest('hex'))])}\n`,
    /** @throws BackupError */
    assertIs([word, count, mac]: readonly unknown[]): void {
      if (word !== 'end' || typeof mac !== 'string') throw new BackupError('the backup is cut off: its last line is missing')
      if (!secrets.knows(mac)) throw wrongKey(mac.split('.')[0]!)
      if (count !== rows || !secrets.verifyMac(PURPOSE, hash.digest('hex'), mac)) throw new BackupError(DAMAGED)
    },
  }
}
const PURPOSE = 'backup'

export const wrongKey = (keyId: string): BackupError =>
  new BackupError(
    `the backup belongs to another secret key (key id ${keyId}): set PORTCULLIS_SECRET_KEY to the key of the gateway that made it. To go on with a new key, give the old key as PORTCULLIS_SECRET_KEY_PREVIOUS`,
  )

const ROWS_AT_ONCE = 500

/**
 * Reads a backup. The parts may be used only after the last part has come: only then is the backup known to be whole and authentic.
 * @throws BackupError
 */
export async function* readBackup(input: Readable, secrets: Secrets): AsyncGenerator<BackupPart, void> {
  const seal = createSeal(secrets)
  const rows: string[] = []
  let head: BackupHead | null = null
  let isOver = false
  for await (const line of linesOf(input)) {
    if (isOver) throw new BackupError('the backup was changed: there is something after its last line')
    const isRow = head !== null && line.startsWith('{')
    if (isRow) rows.push(line)
    if (rows.length === ROWS_AT_ONCE || (rows.length > 0 && !isRow)) yield { kind: 'rows', rows: rows.splice(0) }
    if (head === null) {
      head = headOf(line, secrets)
      yield { kind: 'head', head }
    } else if (!isRow) {
      const words = wordsOf(line)
      if (words[0] === 'end') {
        seal.assertIs(words)
        isOver = true
        continue
      }
      yield tableOf(words)
    }
    seal.add(`${line}\n`, isRow ? 1 : 0)
  }
  if (!isOver) throw new BackupError(head ? 'the backup is cut off: its last line is missing' : NO_BACKUP)
}

/** Reads a backup to its end. @returns how many rows of each table it has @throws BackupError */
export async function checkBackup(input: Readable, secrets: Secrets): Promise<{ head: BackupHead; rows: Record<string, number> }> {
  const rows: Record<string, number> = {}
  let head: BackupHead | null = null
  let table = ''
  for await (const part of readBackup(input, secrets)) {
    if (part.kind === 'head') head = part.head
    else if (part.kind === 'rows') rows[table]! += part.rows.length
    else {
      table = part.name
      rows[table] = 0
    }
  }
  return { head: head!, rows }
}

const DAMAGED = 'the backup was changed, or its file is damaged: use another backup'
const NO_BACKUP = 'the file is no backup of Portcullis: portcullis backup FILE makes one'

function headOf(line: string, secrets: Secrets): BackupHead {
  let head: BackupHead
  try {
    head = JSON.parse(line)
  } catch {
    throw new BackupError(NO_BACKUP)
  }
  if (typeof head?.portcullis_backup !== 'number') throw new BackupError(NO_BACKUP)
  if (head.portcullis_backup !== FORMAT)
    throw new BackupError(`the backup has the format ${head.portcullis_backup} of version ${head.version}: restore it with that version`)
  if (!secrets.knows(`${head.secret_key_id}.`)) throw wrongKey(head.secret_key_id)
  return head
}

function wordsOf(line: string): unknown[] {
  try {
    const words = JSON.parse(line)
    if (Array.isArray(words)) return words
  } catch {}
  throw new BackupError(DAMAGED)
}

function tableOf([name, columns]: unknown[]): BackupPart {
  if (typeof name !== 'string' || !Array.isArray(columns)) throw new BackupError(DAMAGED)
  return { kind: 'table', name, columns: columns.map(String) }
}

async function* linesOf(input: Readable): AsyncGenerator<string> {
  const text = input.on('error', (error) => text.destroy(error)).pipe(createGunzip())
  let rest = ''
  try {
    for await (const chunk of text.setEncoding('utf8')) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      yield* lines
    }
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'Z_DATA_ERROR':
        throw new BackupError('the file is no backup of Portcullis, or it is damaged: it is not in the format gzip')
      case 'Z_BUF_ERROR':
        throw new BackupError('the backup is cut off: its end is missing')
      default:
        throw error
    }
  } finally {
    input.destroy()
  }
  if (rest !== '') throw new BackupError('the backup is cut off: its last line is missing')
}
