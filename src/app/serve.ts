/** Runs the gateway, as one process or several, until it is asked to stop. */
import closeWithGrace from 'close-with-grace'
import { shownEndpoint, shownSampler, type TracingSettings } from '../platform/config/tracing-variables.ts'
import { isDatabaseThere } from '../platform/db/describe-database.ts'
import { writeCompiledCode } from '../platform/lib/compile-cache.ts'
import { flushLogger, type Logger } from '../platform/telemetry/logger.ts'
import { buildApp } from './app.ts'
import { graceMs, listen, listenAdmin, logUncaught, type Running, type ServeOptions } from './listen.ts'
import { supervise } from './supervisor.ts'
import { countWorkers } from './worker-share.ts'

/** Starts the listeners: admin first, so that readiness can be asked while the rest starts. Ends the process on SIGTERM and SIGINT. SIGHUP reloads the configuration. */
export async function serve(options: ServeOptions): Promise<Running> {
  const { config, logger } = options
  announceStores(options)
  let running: Running | undefined
  let isReloadDue = false
  const canReload = options.source !== undefined
  if (canReload)
    process.on('SIGHUP', () => {
      if (running) void running.reload('SIGHUP')
      else isReloadDue = true
    })
  closeWithGrace({ delay: graceMs(config) + 1000, logger: false, skip: canReload ? ['SIGHUP'] : [] }, async ({ signal, err }) => {
    if (err) logUncaught(err, logger)
    logger.info({ signal }, 'stopping: finishing the requests in flight')
    await running?.stop()
    logger.info('stopped')
    await flushLogger(logger)
  })
  // here it holds up no timer and no request
  writeCompiledCode()
  const workers = countWorkers(config)
  running = workers > 1 ? await supervise(options, workers) : await serveAlone(options)
  if (options.tracing) announceTracing(options.tracing, logger)
  const { port, adminPort } = running
  logger.info({ port, admin_port: adminPort, routes: config.routes.length, workers }, 'portcullis is listening')
  if (isReloadDue) void running.reload('SIGHUP')
  return running
}

async function serveAlone(options: ServeOptions): Promise<Running> {
  const { config } = options
  const app = await buildApp(options)
  options.output.onDropped((lines) => app.platform.metrics.logLinesDropped.inc(lines))
  let opened: { close(): Promise<void> } | undefined
  async function stop(): Promise<void> {
    await opened?.close()
    await app.stop()
  }
  try {
    const adminPort = await listenAdmin(app.admin!, config)
    await app.start()
    opened = await options.withServices?.(app)
    const port = await listen(app, config)
    const { reloader } = app
    reloader!.begin()
    return { port, adminPort, stop, reload: reloader!.reload }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}

const announceTracing = (tracing: TracingSettings, logger: Logger): void =>
  logger.info(
    { endpoint: shownEndpoint(tracing), protocol: tracing.protocol, sampler: shownSampler(tracing) },
    'requests are recorded as traces',
  )

function announceStores({ config, logger }: ServeOptions): void {
  if (config.database.url === 'embedded') {
    if (!isDatabaseThere(config.database))
      logger.info(`creating the embedded database in ${config.database.dataDir}, which takes a few seconds`)
    logger.warn(
      { data_dir: config.database.dataDir },
      'embedded database: one process, no replication, a crash of the machine may lose the last seconds; for production set DATABASE_URL',
    )
  }
  if (config.redis.url === 'memory') logger.warn('limits are counted in this process alone; for several gateways set REDIS_URL')
}
