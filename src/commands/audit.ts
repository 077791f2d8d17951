/** Verifies and exports the audit log. Both commands only read. */
import { pipeline } from 'node:stream/promises'
import { Command } from 'commander'
import type { Db } from '../platform/db/database.ts'
import { visibleJson } from '../platform/lib/visible-text.ts'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { type Services, withServices } from './services.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage.ts'

interface VerifyArgs extends ConfigArgs {
  head?: string
}
interface ExportArgs extends ConfigArgs {
  user?: string
  event?: string
  since?: string
  until?: string
}

export const auditCommand = (terminal: Terminal): Command =>
  withExamples(
    groupOf('audit', 'the audit log', [verifyCommand(terminal), exportCommand(terminal)]),
    'portcullis audit verify\nportcullis audit export > audit.ndjson',
  )

const verifyCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('verify').description('checks that no row was changed, removed, inserted or cut off')).option(
      '--head <HEAD>',
      'the head of a log line audit_sealed: also checks that the log still reaches it',
    ),
    'portcullis audit verify\nportcullis audit verify --head 42:9f86d081…',
    'Exit code 0: the log is intact. 1: it is not, and every fault is printed.',
  ).action((args: VerifyArgs) => verify(terminal, args))

const exportCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('export').description('prints the audit log, one JSON object a line'))
      .option('--user <LOGIN>', 'only this user: an e-mail address, a username or an id; a deleted user only by id')
      .option('--event <EVENT>', 'only this event, for example login')
      .option('--since <TIME>', 'from this date or instant on')
      .option('--until <TIME>', 'before this date or instant'),
    `
portcullis audit export > audit.ndjson
portcullis audit export --user ann@example.com --event login --since 2026-11-01 --until 2026-12-01T00:00:00Z
`,
  ).action((args: ExportArgs) => exportLog(terminal, args))

/** Leaves the schema of the database unchanged. */
const reading = (terminal: Terminal, args: ConfigArgs, work: (services: Services) => Promise<void>) =>
  withServices(terminal, args, work, { needsKeys: false })

async function verify(terminal: Terminal, args: VerifyArgs): Promise<void> {
  const [{ readHead }, { verifyAudit }] = await Promise.all([import('../platform/audit/chain.ts'), import('../platform/audit/verify.ts')])
  const known = args.head === undefined ? undefined : readHead(args.head)
  if (known === null) throw new UsageError('--head is <number>:<hash>, as in a log line audit_sealed')
  await reading(terminal, args, async ({ platform: { db, secrets } }) => {
    const found = await verifyAudit(db, secrets, { head: known, report: ({ kind, detail }) => terminal.print(`${kind}: ${detail}`) })
    const { faults, rows, batches, unsealed, erased, removedThrough, head, sealedAt } = found
    const verdict = faults ? `not intact: ${faults} ${faults === 1 ? 'fault' : 'faults'}` : 'intact'
    terminal.print(`${verdict}; ${rows} rows in ${batches} batches, ${unsealed} not sealed yet`)
    if (removedThrough) terminal.print(`removed by retention: batches up to ${removedThrough}`)
    if (erased) terminal.print(`personal data erased: of ${erased} rows`)
    terminal.print(head ? `sealed at ${sealedAt!.toISOString()}\nhead ${head}` : 'nothing was sealed yet')
    if (faults) terminal.exitCode = 1
  })
}

async function exportLog(terminal: Terminal, { user, event, since, until, ...args }: ExportArgs): Promise<void> {
  const filter = { event, since: await instantOf('since', since), until: await instantOf('until', until) }
  await reading(terminal, args, async ({ platform: { db, database } }) => {
    const { exportAudit } = await import('../platform/audit/pages.repo.ts')
    const userId = user && (await userIdOf(db, user))
    async function* lines() {
      for await (const row of exportAudit(database.read, { ...filter, userId })) yield `${visibleJson(row)}\n`
    }
    await pipeline(lines, terminal.io.stdout, { end: false }).catch((error) => {
      // the reader has closed the pipe, as `head` does
      if (error.code !== 'EPIPE') throw error
    })
  })
}

/** An id is not looked up: the log still has the rows of a deleted user. */
async function userIdOf(db: Db, login: string): Promise<string> {
  const [{ isId }, { canonicalLogin }, { findUserByLogin }] = await Promise.all([
    import('../platform/lib/ids.ts'),
    import('../identity/users/canonical-login.ts'),
    import('../identity/users/users.repo.ts'),
  ])
  if (isId(login.toLowerCase())) return login.toLowerCase()
  const user = await findUserByLogin(db, canonicalLogin(login))
  if (!user) throw new UsageError(`no user ${login}`)
  return user.id
}

async function instantOf(flag: string, text: string | undefined): Promise<Date | undefined> {
  if (text === undefined) return undefined
  const { isStorable } = await import('../platform/lib/timestamps.ts')
  const instant = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || !isStorable(instant))
    throw new UsageError(`--${flag} is a date or an instant: 2026-11-01, 2026-11-01T12:00:00Z`)
  return instant
}
