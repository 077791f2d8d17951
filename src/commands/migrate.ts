import { Command } from 'commander'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'

export const migrateCommand = (terminal: Terminal): Command =>
  withExamples(
    groupOf('migrate', 'the schema of the database', [
      stepCommand(terminal, 'up', 'applies all missing steps; serve does this at its start, too'),
      stepCommand(terminal, 'down', 'reverts the newest step'),
      statusCommand(terminal),
    ]),
    'portcullis migrate status\nportcullis migrate up --config portcullis.yaml',
  )

/** These commands change or show the schema themselves, so opening the services must not migrate it. */
const AS_IT_IS = { needsKeys: false }

const stepCommand = (terminal: Terminal, name: 'up' | 'down', description: string) =>
  withExamples(
    withConfig(new Command(name).description(description)),
    `portcullis migrate ${name}\nDATABASE_URL=postgres://… portcullis migrate ${name}`,
  ).action((args: ConfigArgs) =>
    withServices(
      terminal,
      args,
      async ({ platform: { db } }) => {
        const { migrateDown, migrateUp } = await import('../platform/db/migrate.ts')
        const steps = name === 'up' ? await migrateUp(db) : await migrateDown(db)
        terminal.print(steps.length ? `${name}: ${steps.join(', ')}` : 'nothing to do')
      },
      AS_IT_IS,
    ),
  )

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
        terminal.print(table((await migrationStatus(db)).map((m) => ({ step: m.name, applied: m.executedAt?.toISOString() ?? 'no' }))))
      },
      AS_IT_IS,
    ),
  )
