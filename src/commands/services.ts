/** The services of a gateway, opened for one command. */
import { existsSync } from 'node:fs'
import type { Identity } from '../app/identity.ts'
import type { Platform } from '../app/platform.ts'
import type { Actor } from '../identity/admin/audited-action.ts'
import type { Config } from '../platform/config/schema.ts'
import { type MigrationEvent, textOfEvent } from '../platform/db/migration-events.ts'
import { runInGateway, socketOf } from './command-socket.ts'
import { type ConfigArgs, load } from './configuration.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage.ts'

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
  /** False: the command needs the database for itself, so no gateway may have it open. */
  mayShare?: boolean
}

/**
 * Logs go nowhere: the command prints what it did, and names its database on standard error. A gateway that has the embedded database open
 * runs the command itself, with its own configuration.
 */
export async function withServices(
  terminal: Terminal,
  args: ConfigArgs,
  work: (services: Services) => Promise<void>,
  { needsKeys = true, mayCreate = false, mayShare = true }: ServicesOptions = {},
): Promise<void> {
  const { COMMAND_LINE } = await import('../platform/audit/audit.ts')
  const by = { actor: 'command line', context: COMMAND_LINE }
  if (terminal.gateway) {
    if (!mayShare) throw new UsageError('this command needs the database for itself: stop the gateway first')
    return work({ ...terminal.gateway, by })
  }
  const { describeDatabase, isDatabaseThere } = await import('../platform/db/describe-database.ts')
  const mayBeServed = ({ database }: Config) => mayShare && database.url === 'embedded' && existsSync(socketOf(database.dataDir))
  let { config, secrets } = await load(terminal, args, { needSecrets: (config) => !mayBeServed(config) })
  if (mayBeServed(config)) {
    const exitCode = await runInGateway(config.database.dataDir, terminal)
    if (exitCode !== null) {
      terminal.exitCode = exitCode
      return
    }
    // the socket was left by a gateway that was killed
    ;({ config, secrets } = await load(terminal, args))
  }
  if (!mayCreate && !isDatabaseThere(config.database)) throw await noDatabase(config.database.dataDir)
  terminal.complain(`database: ${describeDatabase(config.database)}`)
  const [{ openServices }, { migrateUp }, { createLogger }] = await Promise.all([
    import('../app/services.ts'),
    import('../platform/db/migrate.ts'),
    import('../platform/telemetry/logger.ts'),
  ])
  const services = await openServices({ config, secrets, logger: createLogger('silent', { write: () => {} }) })
  try {
    if (needsKeys) {
      await migrateUp(services.platform.database, { report: progressTo(terminal) })
      await services.identity.keyring.load()
    }
    const { platform, identity } = services
    await work({ platform, identity, by })
  } finally {
    await services.close()
  }
}

const LONG_SECONDS = 10

/** Shows only what takes long: a command prints the steps that it was asked for. */
export const progressTo = (terminal: Terminal) => (event: MigrationEvent) => {
  const isStep = event.kind === 'applied' || event.kind === 'reverted'
  if (!isStep || event.seconds >= LONG_SECONDS) terminal.complain(textOfEvent(event))
}

export async function noDatabase(dataDir: string): Promise<Error> {
  const { ConfigError } = await import('../app/load-config.ts')
  const message = `there is no embedded database in ${dataDir}`
  const hint = 'set DATABASE_URL, or database.dataDir to the folder of the gateway'
  return new ConfigError([{ where: 'database', path: '', message, hint }])
}
