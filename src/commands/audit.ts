/** `portcullis audit …`: is the log whole, and all of it. Both only read. */
import { pipeline } from 'node:stream/promises'
import { canonicalLogin } from '../identity/users/canonical-login.ts'
import { findUserByLogin } from '../identity/users/users.repo.ts'
import { readHead } from '../platform/audit/chain.ts'
import { exportAudit } from '../platform/audit/pages.repo.ts'
import { verifyAudit } from '../platform/audit/verify.ts'
import type { Db } from '../platform/db/database.ts'
import { isId } from '../platform/lib/ids.ts'
import { print, UsageError } from '../platform/lib/terminal.ts'
import { isStorable } from '../platform/lib/timestamps.ts'
import type { Secrets } from '../platform/vault/secrets.ts'

export const AUDIT_HELP = `portcullis audit verify|export --config FILE

  portcullis audit verify                exit 0: intact; 1: not, and what was changed, removed, inserted or cut off
  portcullis audit verify --head HEAD    HEAD from a log line audit_sealed: nothing up to it was changed or cut off
  portcullis audit export > audit.ndjson
  portcullis audit export --user LOGIN --event login --since 2026-11-01 --until 2026-12-01T00:00:00Z

A user who was deleted is named by id.`

export interface AuditArgs {
  values: { head?: string; user?: string; event?: string; since?: string; until?: string }
  positionals: string[]
}

/** @returns the exit code */
type Run = (stores: { db: Db; secrets: Secrets }) => Promise<number>

/** @throws UsageError */
export function readAuditCommand({ values, positionals: [action] }: AuditArgs): Run {
  if (action === 'verify') return readVerify(values)
  if (action === 'export') return readExport(values)
  throw new UsageError('audit takes verify or export')
}

function readVerify({ head: text }: AuditArgs['values']): Run {
  const known = text === undefined ? undefined : readHead(text)
  if (known === null) throw new UsageError('--head is <number>:<hash>, as in a log line audit_sealed')
  return async ({ db, secrets }) => {
    const found = await verifyAudit(db, secrets, { head: known, tell: ({ kind, detail }) => print(`${kind}: ${detail}`) })
    const { faults, rows, batches, unsealed, erased, removedThrough, head, sealedAt } = found
    const verdict = faults ? `not intact: ${faults} ${faults === 1 ? 'fault' : 'faults'}` : 'intact'
    print(`${verdict}; ${rows} rows in ${batches} batches, ${unsealed} not sealed yet`)
    if (removedThrough) print(`removed by retention: batches up to ${removedThrough}`)
    if (erased) print(`personal data erased: of ${erased} rows`)
    print(head ? `sealed at ${sealedAt!.toISOString()}\nhead ${head}` : 'nothing was sealed yet')
    return faults ? 1 : 0
  }
}

function readExport({ user, event, since, until }: AuditArgs['values']): Run {
  const filter = { event, since: instantOf('since', since), until: instantOf('until', until) }
  return async ({ db }) => {
    const userId = user && (await userIdOf(db, user))
    async function* lines() {
      for await (const row of exportAudit(db, { ...filter, userId })) yield `${JSON.stringify(row)}\n`
    }
    await pipeline(lines, process.stdout, { end: false }).catch((error) => {
      // the reader has enough: `| head`
      if (error.code !== 'EPIPE') throw error
    })
    return 0
  }
}

/** An id is taken as it is: the user may be gone, and the log is not. */
async function userIdOf(db: Db, login: string): Promise<string> {
  if (isId(login.toLowerCase())) return login.toLowerCase()
  const user = await findUserByLogin(db, canonicalLogin(login))
  if (!user) throw new UsageError(`no user ${login}`)
  return user.id
}

function instantOf(flag: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const instant = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || !isStorable(instant))
    throw new UsageError(`--${flag} is a date or an instant: 2026-11-01, 2026-11-01T12:00:00Z`)
  return instant
}
