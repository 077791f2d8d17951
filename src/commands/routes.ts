import { Command } from 'commander'
import type { Config } from '../platform/config/schema.ts'
import { type ConfigArgs, complainOfWarnings, fileOf, load, withConfigFile } from './configuration.ts'
import { withExamples } from './help.ts'
import { type Terminal, table } from './terminal.ts'

interface RoutesArgs extends ConfigArgs {
  json?: boolean
}

export const routesCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfigFile(new Command('routes').description('prints the routes in the order in which they are matched')).option(
      '--json',
      'print JSON instead of a table',
    ),
    `
portcullis routes portcullis.yaml
portcullis routes --config portcullis.yaml --json
`,
  ).action(async (file: string | undefined, args: RoutesArgs) => {
    const { config, warnings } = await load(terminal, args, { file: fileOf(file, args), needSecrets: false })
    await complainOfWarnings(terminal, warnings)
    const rows = await routeRows(config)
    args.json ? terminal.printJson(rows) : terminal.print(table(rows))
  })

/** In the order in which they are matched. */
export async function routeRows(config: Config) {
  const { compileRoutes } = await import('../proxy/routing/route-table.ts')
  const { describeLimits } = await import('../proxy/rate-limit.ts')
  const rows = compileRoutes(config).routes.map((r) => ({
    name: r.name,
    host: r.host ?? '*',
    path: r.path,
    methods: r.methods ? [...r.methods].join(',') : '*',
    access: r.access.label,
    limits: r.limits.join(',') || '-',
    counts: describeLimits(config.limits, r.limits),
    upstream: r.servers.map((s) => s.origin).join(','),
    websocket: r.websocket,
  }))
  return rows.sort((a, b) => a.host.localeCompare(b.host) || b.path.length - a.path.length)
}
