/**
 * Reads the configuration again and puts it in force as one swap. A configuration that is refused changes nothing. One reload runs at a time,
 * and those that are asked for meanwhile become one more.
 */
import { readFileSync } from 'node:fs'
import { shownPath } from '../platform/config/harmless.ts'
import type { Config, Secrets } from '../platform/config/schema.ts'
import { type ConfigProblem, formatProblem } from '../platform/config/source.ts'
import { networkFilesOf } from '../platform/geo/client-data.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { causeText } from '../platform/lib/errors.ts'
import { type FileWatch, watchFiles } from '../platform/lib/watch-files.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import { checkConfig } from '../proxy/routing/check-config.ts'
import { showConfig } from './gauges.ts'
import { ConfigError, filesOf, type LoadOptions, loadConfig } from './load-config.ts'
import { changedSecrets, planReload, type ReloadPlan } from './reload-plan.ts'

/** A configuration that is ready to be put in force. */
export interface PreparedReload {
  /** Cannot fail. Resolves when it is in force in all processes. */
  commit(): void | Promise<void>
  cancel(): void
}

export type ReloadCause = 'SIGHUP' | 'files' | 'command'

export type ReloadResult =
  | { status: 'reloaded'; needsRestart: string[]; warnings: string[] }
  /** The configuration before stays in force. */
  | { status: 'refused'; problems: string[] }
  | { status: 'stopping' }

export interface Reloader {
  reload(cause: ReloadCause): Promise<ReloadResult>
  /** Call it once the gateway serves: reloads that were asked for earlier begin now. */
  begin(): void
  /** A reload that is running changes nothing any more. */
  stop(): void
}

export interface ReloaderDeps {
  /** Where the configuration came from. Null: it cannot be read again. */
  source: LoadOptions | null
  config: Config
  secrets: Secrets
  /** Builds what follows from the configuration, in all processes. @throws when one of them cannot */
  prepare(config: Config): Promise<PreparedReload>
  logger: Logger
  metrics: Metrics
  clock: Clock
}

export function createReloader({ source, config, secrets, prepare, logger, metrics, clock }: ReloaderDeps): Reloader {
  let running = config
  /** Of a configuration that was refused: perhaps one of its files is not written yet. */
  let refused: Config | null = null
  let isStopping = false
  const begun = Promise.withResolvers<void>()
  let present: Promise<ReloadResult> | null = null
  let next: Promise<ReloadResult> | null = null
  let watch: FileWatch | null = null

  function read(): ReloadPlan & { warnings: ConfigProblem[] } {
    if (source === null) throw new Error('the configuration of this gateway comes from no file')
    // a start takes an empty file. A reload may meet a file that is just being written: it must not end every route
    if (source.file && isBlank(source.file)) throw new ConfigError([blank(source.file)])
    const loaded = loadConfig(source)
    refused = loaded.config
    // on this machine the files must be there
    if (loaded.absentFiles.length) throw new ConfigError(loaded.absentFiles)
    const plan = planReload(running, loaded.config)
    plan.needsRestart.push(...changedSecrets(secrets, loaded.secrets))
    assertRoutes(running, plan.config)
    return { ...plan, warnings: plan.needsRestart.length > 0 ? checkFit(plan) : loaded.warnings }
  }

  async function run(cause: ReloadCause): Promise<ReloadResult> {
    await begun.promise
    if (isStopping) return { status: 'stopping' }
    try {
      const { config, needsRestart, warnings } = read()
      const prepared = await prepare(config)
      if (isStopping) {
        prepared.cancel()
        return { status: 'stopping' }
      }
      await prepared.commit()
      running = config
      refused = null
      showConfig(metrics, config, clock)
      watchAgain()
      report(cause, needsRestart, warnings)
      return { status: 'reloaded', needsRestart, warnings: warnings.map(formatProblem) }
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems.map(formatProblem) : [causeText(error)]
      metrics.configReloadSuccess.set(0)
      logger.error({ reason: 'config_refused', cause, problems }, 'the new configuration is refused: the one before stays in force')
      return { status: 'refused', problems }
    }
  }

  function report(cause: ReloadCause, needsRestart: string[], warnings: ConfigProblem[]): void {
    logger.info({ cause, routes: running.routes.length }, 'the new configuration is in force')
    for (const warning of warnings) logger.warn({ reason: 'config' }, formatProblem(warning))
    if (needsRestart.length)
      logger.warn({ reason: 'config_needs_restart', settings: needsRestart }, 'these settings keep their old values until a restart')
  }

  function start(cause: ReloadCause): Promise<ReloadResult> {
    next = null
    const result = run(cause).finally(() => {
      present = null
    })
    present = result
    return result
  }

  function reload(cause: ReloadCause): Promise<ReloadResult> {
    if (present === null) return start(cause)
    // what was read already may be older than this call
    next ??= present.then(() => start(cause))
    return next
  }

  function watchAgain(): void {
    if (running.reload.watch === (watch !== null)) return
    watch?.stop()
    watch = running.reload.watch && source ? watchFiles({ files: watched, onChange: () => void reload('files') }) : null
  }
  const watched = () => [...new Set([...(source?.file ? [source.file] : []), ...ownFilesOf(running), ...(refused ? filesOf(refused) : [])])]

  watchAgain()
  return {
    reload,
    begin: begun.resolve,
    stop() {
      isStopping = true
      watch?.stop()
      begun.resolve()
    },
  }
}

/** Files of networks and countries are read again without a reload. */
function ownFilesOf(config: Config): string[] {
  const others = new Set([...networkFilesOf(config), config.geo.database])
  return filesOf(config).filter((file) => !others.has(file))
}

/** A file that cannot be read is the concern of the loader. */
function isBlank(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').trim() === ''
  } catch {
    return false
  }
}

const blank = (file: string): ConfigProblem => ({
  where: file,
  path: '',
  message: 'is empty',
  hint: 'write the whole configuration; only a restart takes an empty file',
})

/**
 * The beginning of a file may be a valid configuration without routes: every client would get 404.
 * @throws ConfigError
 */
function assertRoutes({ routes }: Config, next: Config): void {
  if (routes.length === 0 || next.routes.length > 0) return
  const message = `there are none, and the gateway has ${routes.length}`
  const hint = 'perhaps the file is not completely written; to run the gateway without routes, restart it'
  throw new ConfigError([{ where: '', path: 'routes', message, hint }])
}

/**
 * The settings that stay may not fit the new ones: a new route may lie below the old prefix.
 * @returns the warnings @throws ConfigError
 */
function checkFit({ config, needsRestart }: ReloadPlan): ConfigProblem[] {
  const { problems, warnings } = checkConfig(config, { isComplete: true })
  const where = `until a restart changes ${needsRestart.join(', ')}`
  const place = ({ path, message, hint }: (typeof problems)[number]): ConfigProblem => ({ where, path: shownPath(path), message, hint })
  if (problems.length) throw new ConfigError(problems.map(place))
  return warnings.map(place)
}
