import { Command, Option } from 'commander'
import type { Running, ServeOptions } from '../app/listen.ts'
import type { Config } from '../platform/config/schema.ts'
import { VERSION } from '../platform/lib/version.ts'
import { openCommandSocket } from './command-socket.ts'
import { type ConfigArgs, fileOf, load, settingsOf, sourceOf, withConfigFile, withPort } from './configuration.ts'
import { withExamples } from './help.ts'
import { type LogFormat, openLogOutput } from './log-output.ts'
import { type Terminal, table } from './terminal.ts'
import { readChoice } from './usage.ts'

interface ServeArgs extends ConfigArgs {
  log?: LogFormat
}

export const serveCommand = (terminal: Terminal): Command =>
  withExamples(
    withPort(withConfigFile(new Command('serve').description('runs the gateway'))).addOption(
      new Option('--log <FORMAT>', 'json or pretty (default: pretty on a terminal, otherwise json)').argParser((text) =>
        readChoice('--log', text, ['json', 'pretty']),
      ),
    ),
    `
PORTCULLIS_SECRET_KEY=$(openssl rand -base64 32) portcullis serve portcullis.yaml
DATABASE_URL=postgres://… REDIS_URL=redis://… portcullis serve --config portcullis.yaml --port 8080
portcullis serve --set log.level=debug --set server.workers=2
`,
    `SIGTERM stops the gateway: it reports that it is not ready, finishes the requests in flight and closes.
SIGHUP lets it read its configuration again, as the command reload does.`,
  ).action(async (file: string | undefined, args: ServeArgs) => {
    // by default a signal that arrives before the gateway listens for it would end the process
    process.on('SIGHUP', () => {})
    const { config, secrets, tracing, warnings, absentFiles } = await load(terminal, args, { file: fileOf(file, args) })
    if (absentFiles.length) {
      const { ConfigError } = await import('../app/load-config.ts')
      throw new ConfigError(absentFiles)
    }
    const source = { file: sourceOf(fileOf(file, args)), env: terminal.io.env, flags: settingsOf(args) }
    const [{ serve }, { formatProblem }, { createLogger, flushLogger }, { output, isPretty }] = await Promise.all([
      import('../app/serve.ts'),
      import('../platform/config/source.ts'),
      import('../platform/telemetry/logger.ts'),
      openLogOutput(terminal.io, args.log),
    ])
    const logger = createLogger(config.log.level, output)
    for (const warning of warnings) logger.warn({ reason: 'config' }, formatProblem(warning))
    try {
      const running = await serve({ config, secrets, tracing, source, logger, output, withServices: acceptCommands(terminal) })
      if (isPretty) output.write(await introduction(config, running))
    } catch (error) {
      await flushLogger(logger)
      throw error
    }
    terminal.exitCode = null
  })

/** The embedded database is open in one process: commands on it run there. */
export const acceptCommands =
  ({ run }: Terminal): ServeOptions['withServices'] =>
  async (services) => {
    const { url, dataDir } = services.platform.config.database
    if (url !== 'embedded') return { close: async () => {} }
    // a reload changes them
    return openCommandSocket(dataDir, (argv, io) => run(argv, io, { platform: services.platform, identity: services.identity }))
  }

async function introduction(config: Config, { port, adminPort }: Running): Promise<string> {
  const { server, admin, auth, docs, redis } = config
  const { describeDatabase } = await import('../platform/db/describe-database.ts')
  const scheme = server.tls ? 'https' : 'http'
  const base = addressOf(scheme, server.host, port)
  const places = [
    ['gateway', base],
    ['public as', server.publicUrl],
    ...(docs.enabled ? [['API docs', `${base}${auth.prefix}/docs`]] : []),
    ['admin', `${addressOf('http', admin.host, adminPort)}   (/readyz?verbose, /metrics)`],
    ['database', describeDatabase(config.database)],
    ['limits', redis.url === 'memory' ? 'counted in this process' : 'counted in Redis'],
  ]
  const { describeRoutes } = await import('../proxy/describe-routes.ts')
  const rows = describeRoutes(config).map(({ host, path, methods, access, clients, upstream }) => ({
    host,
    path,
    methods,
    access,
    clients,
    upstream,
  }))
  const text = `Portcullis ${VERSION}\n\n${places.map(([name, value]) => `${name!.padEnd(11)}${value}`).join('\n')}\n\n${rows.length ? table(rows) : 'There are no routes.'}`
  return `\n${text.replace(/^(?=.)/gm, '  ')}\n\n`
}

/** An address that a browser on this machine can open. */
function addressOf(scheme: string, host: string, port: number): string {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `${scheme}://${name}:${port}`
}
