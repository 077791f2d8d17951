import { Command } from 'commander'
import type { StepStatus } from '../platform/db/migrate.ts'
import { type ConfigArgs, load, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { progressTo, withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'
import { UsageError } from './usage.ts'

interface UpArgs extends ConfigArgs {
  dryRun?: boolean
}

interface DownArgs extends UpArgs {
  yes?: boolean
  to?: string
}

export const migrateCommand = (terminal: Terminal): Command =>
  withExamples(
    groupOf('migrate', 'the schema of the database', [upCommand(terminal), downCommand(terminal), statusCommand(terminal)]),
    'portcullis migrate status\nportcullis migrate up --config portcullis.yaml',
  )

/** These commands change or show the schema themselves, so opening the services must not migrate it. */
const AS_IT_IS = { needsKeys: false }

const upCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('up').description('applies all missing steps; serve does this at its start, too')).option(
      '--dry-run',
      'only print the steps',
    ),
    'portcullis migrate up\nDATABASE_URL=postgres://… portcullis migrate up --dry-run',
  ).action(({ dryRun: isDry = false, ...args }: UpArgs) =>
    withServices(
      terminal,
      args,
      async ({ platform: { db, database } }) => {
        const { findMissingSteps, migrateUp } = await import('../platform/db/migrate.ts')
        if (!isDry) return printSteps(terminal, 'up', await migrateUp(database, { report: progressTo(terminal) }))
        printSteps(terminal, 'would apply', await findMissingSteps(db))
      },
      { ...AS_IT_IS, mayCreate: !isDry },
    ),
  )

const downCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('down').description('reverts the newest step and deletes its data; asks first'))
      .option('--to <STEP>', 'reverts every step after this step, named as in migrate status')
      .option('--dry-run', 'only print the steps')
      .option('--yes', 'do not ask; required without a terminal'),
    'portcullis migrate down\nDATABASE_URL=postgres://… portcullis migrate down --to 0009-keys-and-clients --yes',
    'Stop the gateways of the newest version before: they need the newest step.',
  ).action(async ({ yes: isConfirmed = false, dryRun: isDry = false, to, ...args }: DownArgs) => {
    if (!isConfirmed && !isDry && !terminal.isInteractive) {
      // problems of the configuration come first, as in every command
      await load(terminal, args)
      throw new UsageError('migrate down deletes data, and without a terminal it cannot ask: confirm it with --yes')
    }
    await withServices(
      terminal,
      args,
      async ({ platform: { db, database } }) => {
        const { migrateDown, migrationStatus } = await import('../platform/db/migrate.ts')
        const applied = (await migrationStatus(db)).filter(({ executedAt }) => executedAt).map(({ name }) => name)
        if (to !== undefined && !applied.includes(to)) throw new UsageError(`${to} is not an applied step: see portcullis migrate status`)
        const steps = to === undefined ? applied.slice(-1) : applied.slice(applied.indexOf(to) + 1).reverse()
        if (isDry) return printSteps(terminal, 'would revert', steps)
        const question = `Revert ${steps.join(', ')} and delete ${steps.length > 1 ? 'their' : 'its'} data?`
        if (steps.length > 0 && !isConfirmed && !(await terminal.confirm(question))) {
          terminal.complain('nothing was changed')
          terminal.exitCode = 1
          return
        }
        printSteps(terminal, 'down', await migrateDown(database, { to, report: progressTo(terminal) }))
      },
      { ...AS_IT_IS, mayShare: isDry },
    )
  })

const printSteps = (terminal: Terminal, name: string, steps: readonly string[]) =>
  terminal.print(steps.length ? `${name}: ${steps.join(', ')}` : 'nothing to do')

const statusCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('status').description('prints every step and when it was applied')),
    'portcullis migrate status --config portcullis.yaml',
  ).action((args: ConfigArgs) =>
    withServices(
      terminal,
      args,
      async ({ platform: { db } }) => {
        const { migrationStatus } = await import('../platform/db/migrate.ts')
        const appliedAt = ({ executedAt, isKnown }: StepStatus) =>
          executedAt ? `${executedAt.toISOString()}${isKnown ? '' : ' by a newer version'}` : 'no'
        terminal.print(table((await migrationStatus(db)).map((step) => ({ step: step.name, applied: appliedAt(step) }))))
      },
      AS_IT_IS,
    ),
  )
