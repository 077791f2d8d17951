/** Running the process: build, listen, and stop when told to. */
import { once } from 'node:events'
import closeWithGrace from 'close-with-grace'
import { type App, type BuildOptions, buildApp } from './app.ts'
import { flushLogger } from './logger.ts'

export interface Running {
  app: App
  /** The ports in use; a configured 0 has become a free one. */
  port: number
  adminPort: number
}

/** Starts both listeners: admin first, so that readiness can be asked while the rest starts. Ends the process on SIGTERM and SIGINT. */
export async function serve(options: BuildOptions): Promise<Running> {
  const { config, logger } = options
  const app = await buildApp(options)
  announceStores(options)
  let adminPort: number
  let port: number
  try {
    adminPort = portOf(await app.admin.listen({ host: config.admin.host, port: config.admin.port }))
    await app.start()
    if (app.redirect) await once(app.redirect.listen(config.server.tls!.redirectPort, config.server.host), 'listening')
    port = portOf(await app.server.listen({ host: config.server.host, port: config.server.port, backlog: 1024 }))
  } catch (error) {
    await app.stop().catch(() => undefined)
    throw error
  }
  logger.info({ port, admin_port: adminPort, routes: config.routes.length }, 'portcullis is listening')
  const { shutdownDelayMs, shutdownTimeoutMs } = config.server
  closeWithGrace({ delay: shutdownDelayMs + shutdownTimeoutMs + 5000, logger: false }, async ({ signal, err }) => {
    if (err)
      logger.fatal({ reason: 'internal', err: { type: err.name, message: err.message, stack: err.stack } }, 'an error that nobody caught')
    logger.info({ signal }, 'stopping: finishing what is in flight')
    await app.stop()
    logger.info('stopped')
    await flushLogger(logger)
  })
  return { app, port, adminPort }
}

function announceStores({ config, logger }: BuildOptions): void {
  if (config.database.url === 'embedded') {
    logger.warn(
      { data_dir: config.database.dataDir },
      'embedded database: one process, no replication, a crash of the machine may lose the last seconds; for production set DATABASE_URL',
    )
  }
  if (config.redis.url === 'memory') logger.warn('limits are counted in this process alone; for several gateways set REDIS_URL')
  if (typeof config.server.workers === 'number' && config.server.workers > 1) {
    logger.warn({ workers: config.server.workers }, 'this version runs one process: start several gateways behind a balancer for more')
  }
}

const portOf = (address: string): number => Number(new URL(address).port)
