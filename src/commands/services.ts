/** The services of a gateway, opened for one command. */
import type { Core } from '../app/services.ts'
import type { Actor } from '../identity/admin/audited-action.ts'
import { type ConfigArgs, load } from './configuration.ts'
import type { Terminal } from './terminal.ts'

/** The services, and the actor that the audit log names for what the command does. */
export interface Services extends Core {
  by: Actor
}

/** Logs go nowhere: the command prints what it did. Without `needsKeys` the database keeps its schema. */
export async function withServices<T>(
  terminal: Terminal,
  args: ConfigArgs,
  work: (services: Services) => Promise<T>,
  { needsKeys = true } = {},
): Promise<T> {
  const { config, secrets } = await load(terminal, args)
  const [{ buildCore }, { migrateUp }, { COMMAND_LINE }, { createLogger }] = await Promise.all([
    import('../app/services.ts'),
    import('../platform/db/migrate.ts'),
    import('../platform/audit/audit.ts'),
    import('../platform/telemetry/logger.ts'),
  ])
  const core = await buildCore({ config, secrets, logger: createLogger('silent') })
  try {
    if (needsKeys) {
      await migrateUp(core.db)
      await core.keyring.load()
    }
    return await work({ ...core, by: { actor: 'command line', context: COMMAND_LINE } })
  } finally {
    await core.close()
  }
}
