/** Restores a backup into an empty database. */
import { Command } from 'commander'
import type { BackupHead } from '../platform/backup/format.ts'
import { type ConfigArgs, load, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { progressTo, type Services, withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'

interface RestoreArgs extends ConfigArgs {
  check?: boolean
  keepSessions?: boolean
}

export const restoreCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('restore').description('restores a backup into an empty database').argument('<FILE>', '- is standard input'))
      .option('--check', 'only check the file and the secret key; needs no database')
      .option('--keep-sessions', 'users stay logged in; sessions that were ended since the backup are valid again'),
    `
portcullis restore --check portcullis.backup.gz
DATABASE_URL=postgres://… portcullis restore portcullis.backup.gz
portcullis restore - < portcullis.backup.gz
`,
    'Without --keep-sessions every user must log in again. Exit code 0: restored, and the audit log is intact.',
  ).action((file: string, { check: isCheck = false, keepSessions = false, ...args }: RestoreArgs) =>
    isCheck
      ? check(terminal, file, args)
      : withServices(terminal, args, (services) => restore(terminal, file, keepSessions, services), {
          needsKeys: false,
          mayCreate: true,
          mayShare: false,
        }),
  )

async function check(terminal: Terminal, file: string, args: ConfigArgs): Promise<void> {
  const { secrets } = await load(terminal, args)
  const [{ checkBackup }, { createSecrets }] = await Promise.all([
    import('../platform/backup/format.ts'),
    import('../platform/vault/secrets.ts'),
  ])
  const { head, rows } = await checkBackup(await terminal.openInput(file), createSecrets(secrets.secretKey!, secrets.previousSecretKey))
  printTables(terminal, head, rows)
}

async function restore(
  terminal: Terminal,
  file: string,
  keepSessions: boolean,
  { platform: { db, database, secrets, audit }, by }: Services,
): Promise<void> {
  const [{ readBackup }, { restoreBackup }, { inTransaction }, { readHead }, { verifyAudit }] = await Promise.all([
    import('../platform/backup/format.ts'),
    import('../platform/backup/restore-backup.ts'),
    import('../platform/db/database.ts'),
    import('../platform/audit/chain.ts'),
    import('../platform/audit/verify.ts'),
  ])
  const parts = readBackup(await terminal.openInput(file), secrets)
  const { head, rows, applied } = await restoreBackup(database, parts, { keepSessions, report: progressTo(terminal) })
  printTables(terminal, head, rows)
  if (applied.length > 0) terminal.complain(`applied newer steps: ${applied.join(', ')}`)
  const known = head.audit_head === null ? undefined : readHead(head.audit_head)!
  const verdict = await verifyAudit(db, secrets, { head: known, report: ({ kind, detail }) => terminal.complain(`${kind}: ${detail}`) })
  terminal.complain(
    verdict.faults === 0
      ? `the audit log is intact: ${verdict.rows} rows in ${verdict.batches} batches`
      : `the audit log is not intact: ${verdict.faults} faults. The gateway can start; see portcullis audit verify`,
  )
  if (verdict.faults > 0) terminal.exitCode = 1
  const detail = `backup of ${head.created_at}, ${keepSessions ? 'with' : 'without'} sessions`
  const { actor, context } = by
  await inTransaction(db, (trx) => audit.record(trx, { event: 'restore', outcome: 'success', actor, detail, context }))
}

function printTables(terminal: Terminal, head: BackupHead, counts: Record<string, number>): void {
  const filled = Object.entries(counts).filter(([, rows]) => rows > 0)
  terminal.print(table(filled.map(([name, rows]) => ({ table: name, rows }))))
  terminal.complain(`backup of ${head.created_at} by version ${head.version}, schema ${head.schema}`)
}
