import { Command } from 'commander'
import { type ConfigArgs, complainOfWarnings, fileOf, load, withConfigFile } from './configuration.ts'
import { withExamples } from './help.ts'
import { type Terminal, table } from './terminal.ts'

interface RoutesArgs extends ConfigArgs {
  json?: boolean
}

/** @param name as users call it, for the examples */
export const routesCommand = (terminal: Terminal, name = 'portcullis routes'): Command =>
  withExamples(
    withConfigFile(new Command('routes').description('prints the routes in the order in which they are matched')).option(
      '--json',
      'print JSON instead of a table',
    ),
    `
${name} portcullis.yaml
${name} --config portcullis.yaml --json
`,
  ).action(async (file: string | undefined, args: RoutesArgs) => {
    const { config, warnings } = await load(terminal, args, { file: fileOf(file, args), needSecrets: false })
    await complainOfWarnings(terminal, warnings)
    const { describeRoutes } = await import('../proxy/describe-routes.ts')
    const rows = describeRoutes(config)
    args.json ? terminal.printJson(rows) : terminal.print(table(rows))
  })
