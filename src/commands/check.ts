import { Command, Option } from 'commander'
import type { Loaded } from '../app/load-config.ts'
import { type ConfigArgs, complainOfWarnings, fileOf, load, withConfigFile, withPort } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'

interface CheckArgs extends ConfigArgs {
  print?: boolean
  json?: boolean
  strict?: boolean
}

export const checkCommand = (terminal: Terminal): Command =>
  withExamples(
    withPort(withConfigFile(new Command('check').description('checks a configuration; needs no secrets')))
      .addOption(new Option('--print', 'print the configuration with all defaults, as YAML, without passwords').conflicts('json'))
      .option('--json', 'print the result for programs: {"ok": …, "problems": […], "warnings": […]}')
      .option(
        '--strict',
        'every warning is a problem, for example a misspelt role, but not a file that is missing on this machine; for CI',
      ),
    `
portcullis check portcullis.yaml
portcullis check --config portcullis.yaml --print
portcullis check portcullis.yaml --strict --json
`,
    'A problem is a line file:line:column: setting: what is wrong, and mostly a second line: what would be right. The exit code is then 2.',
  ).action(async (file: string | undefined, args: CheckArgs) => {
    const configFile = fileOf(file, args)
    if (args.json) await printJson(terminal, args, configFile)
    else await printText(terminal, args, configFile)
  })

/** A file that is not on this machine stays a warning: the gateway may run on another. @throws ConfigError, under --strict also for warnings */
async function loadChecked(terminal: Terminal, args: CheckArgs, file: string | undefined): Promise<Pick<Loaded, 'config' | 'warnings'>> {
  const { ConfigError } = await import('../app/load-config.ts')
  const loaded = await load(terminal, args, { file, needSecrets: false }).catch((error) => {
    throw args.strict && error instanceof ConfigError ? new ConfigError([...error.problems, ...error.warnings]) : error
  })
  const { config, warnings, absentFiles } = loaded
  if (args.strict && warnings.length) throw new ConfigError(warnings, absentFiles)
  return { config, warnings: [...warnings, ...absentFiles] }
}

async function printText(terminal: Terminal, args: CheckArgs, file: string | undefined): Promise<void> {
  const { ConfigError } = await import('../app/load-config.ts')
  const { config, warnings } = await loadChecked(terminal, args, file).catch(async (error) => {
    if (error instanceof ConfigError) await complainOfWarnings(terminal, error.warnings)
    throw error
  })
  await complainOfWarnings(terminal, warnings)
  if (!args.print) return terminal.print('the configuration is valid')
  const [{ stringify }, { withoutSecrets }] = await Promise.all([import('yaml'), import('../platform/config/shown.ts')])
  terminal.print(stringify(withoutSecrets(config)).trimEnd())
}

async function printJson(terminal: Terminal, args: CheckArgs, file: string | undefined): Promise<void> {
  const [{ ConfigError }, { formatProblem }] = await Promise.all([import('../app/load-config.ts'), import('../platform/config/source.ts')])
  try {
    const { warnings } = await loadChecked(terminal, args, file)
    terminal.printJson({ ok: true, problems: [], warnings: warnings.map(formatProblem) })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    terminal.printJson({ ok: false, problems: error.problems.map(formatProblem), warnings: error.warnings.map(formatProblem) })
    terminal.exitCode = 2
  }
}
