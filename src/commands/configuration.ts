/** The options that name a configuration, and how a command loads it. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Loaded, LoadOptions } from '../app/load-config.ts'
import type { ConfigProblem } from '../platform/config/source.ts'
import type { Terminal } from './terminal.ts'
import { collect, readNumber, UsageError } from './usage.ts'

export interface ConfigArgs {
  config?: string
  set?: string[]
  port?: string
}

const DEFAULT_FILE = 'portcullis.yaml'
const MAX_PORT = 65_535

export const withConfig = (command: Command, defaultText = `./${DEFAULT_FILE} if it exists`): Command =>
  command
    .option('-c, --config <FILE>', `the configuration (default: ${defaultText})`)
    .option('--set <a.b=value>', 'one setting; overrides the environment and the file; may be repeated', collect)

export const withPort = (command: Command): Command => command.option('--port <N>', 'the same as --set server.port=N')

/** For commands that also take the configuration as their argument. */
export const withConfigFile = (command: Command): Command =>
  withConfig(command.argument('[FILE]', 'the configuration; the same as --config FILE'))

/** @throws UsageError when the argument and the option both name a file. */
export function fileOf(file: string | undefined, { config }: ConfigArgs): string | undefined {
  if (file !== undefined && config !== undefined)
    throw new UsageError(`the configuration is given twice, as ${file} and as --config ${config}: give only one of them`)
  return file ?? config
}

/** Settings from options, as `a.b=value`. @throws UsageError */
export function settingsOf({ set = [], port }: ConfigArgs): string[] {
  return port === undefined ? set : [...set, `server.port=${readNumber('--port', port, { min: 0, max: MAX_PORT })}`]
}

/** The file that is named, or the default if it is there. */
export const sourceOf = (file: string | undefined): string | undefined => file ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined)

/** @throws UsageError @throws ConfigError */
export async function load(
  { io }: Terminal,
  args: ConfigArgs,
  { file = args.config, needSecrets = true }: { file?: string | undefined; needSecrets?: LoadOptions['needSecrets'] } = {},
): Promise<Loaded> {
  const flags = settingsOf(args)
  // imported late: the validator takes longer to load than all commands together
  const { loadConfig } = await import('../app/load-config.ts')
  const found = sourceOf(file)
  const loaded = loadConfig({ file: found, env: io.env, flags, needSecrets })
  if (found !== undefined) return loaded
  return { ...loaded, warnings: loaded.warnings.map((warning) => (warning.path === 'routes' ? noFile() : warning)) }
}

/** On standard error, so that the result of a command stays alone on standard output. */
export async function complainOfWarnings({ complain }: Terminal, warnings: ConfigProblem[]): Promise<void> {
  const { problemLines } = await import('../platform/config/source.ts')
  for (const warning of warnings) complain(`warning: ${problemLines(warning)}`)
}

/** Without a file there are no routes: mostly the command was started in another folder. */
export const noFile = (): ConfigProblem => ({
  where: '',
  path: '',
  message: `no --config, and no ${DEFAULT_FILE} in ${resolve('.')}: there are no routes`,
  hint: 'name the configuration: --config FILE; config/portcullis.yaml is an example',
})
