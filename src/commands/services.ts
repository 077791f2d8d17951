/** The services of a gateway, opened for one command. */
import type { Identity } from '../app/identity.ts'
import type { Platform } from '../app/platform.ts'
import type { Actor } from '../identity/admin/audited-action.ts'
import { type ConfigArgs, load } from './configuration.ts'
import type { Terminal } from './terminal.ts'

export interface Services {
  platform: Platform
  identity: Identity
  /** The actor that the audit log names for what the command does. */
  by: Actor
}

export interface ServicesOptions {
  /** False: the database keeps its schema, and the signing keys are not loaded. */
  needsKeys?: boolean
  /** An embedded database that is not there is created. */
  mayCreate?: boolean
}

/** Logs go nowhere: the command prints what it did, and names its database on standard error. */
export async function withServices<T>(
  terminal: Terminal,
  args: ConfigArgs,
  work: (services: Services) => Promise<T>,
  { needsKeys = true, mayCreate = false }: ServicesOptions = {},
): Promise<T> {
  const { config, secrets } = await load(terminal, args)
  const { describeDatabase, isDatabaseThere } = await import('../platform/db/describe-database.ts')
  if (!mayCreate && !isDatabaseThere(config.database)) throw await noDatabase(config.database.dataDir)
  terminal.complain(`database: ${describeDatabase(config.database)}`)
  const [{ openServices }, { migrateUp }, { COMMAND_LINE }, { createLogger }] = await Promise.all([
    import('../app/services.ts'),
    import('../platform/db/migrate.ts'),
    import('../platform/audit/audit.ts'),
    import('../platform/telemetry/logger.ts'),
  ])
  const services = await openServices({ config, secrets, logger: createLogger('silent', { write: () => {} }) })
  try {
    if (needsKeys) {
      await migrateUp(services.platform.db)
      await services.identity.keyring.load()
    }
    const { platform, identity } = services
    return await work({ platform, identity, by: { actor: 'command line', context: COMMAND_LINE } })
  } finally {
    await services.close()
  }
}

async function noDatabase(dataDir: string): Promise<Error> {
  const { ConfigError } = await import('../app/load-config.ts')
  const message = `there is no embedded database in ${dataDir}`
  const hint = 'set DATABASE_URL, or database.dataDir to the folder of the gateway'
  return new ConfigError([{ where: 'database', path: '', message, hint }])
}
