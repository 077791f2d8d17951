import { Command } from 'commander'
import { type ConfigArgs, fileOf, load, withConfigFile, withPort } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'

export const serveCommand = (terminal: Terminal): Command =>
  withExamples(
    withPort(withConfigFile(new Command('serve').description('runs the gateway'))),
    `
PORTCULLIS_SECRET_KEY=$(openssl rand -base64 32) portcullis serve portcullis.yaml
DATABASE_URL=postgres://… REDIS_URL=redis://… portcullis serve --config portcullis.yaml --port 8080
portcullis serve --set log.level=debug --set server.workers=2
`,
    'SIGTERM stops the gateway: it reports that it is not ready, finishes the requests in flight and closes.',
  ).action(async (file: string | undefined, args: ConfigArgs) => {
    const { config, secrets, warnings } = await load(terminal, args, { file: fileOf(file, args) })
    const [{ serve }, { formatProblem }, { createLogger, createLogOutput, flushLogger }] = await Promise.all([
      import('../app/serve.ts'),
      import('../platform/config/source.ts'),
      import('../platform/telemetry/logger.ts'),
    ])
    const output = createLogOutput()
    const logger = createLogger(config.log.level, output)
    for (const warning of warnings) logger.warn({ reason: 'config' }, formatProblem(warning))
    try {
      await serve({ config, secrets, logger, output })
    } catch (error) {
      await flushLogger(logger)
      throw error
    }
    terminal.exitCode = null
  })
