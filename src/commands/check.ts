import { Command, Option } from 'commander'
import type { OnlineResult } from '../app/check-online.ts'
import type { Config } from '../platform/config/schema.ts'
import type { ConfigProblem } from '../platform/config/source.ts'
import { type ConfigArgs, complainOfWarnings, fileOf, load, withConfigFile, withPort } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'

interface CheckArgs extends ConfigArgs {
  print?: boolean
  json?: boolean
  sarif?: boolean
  strict?: boolean
  notes?: boolean
  online?: boolean
}

export const checkCommand = (terminal: Terminal): Command =>
  withExamples(
    withPort(withConfigFile(new Command('check').description('checks a configuration; needs no secrets')))
      .addOption(
        new Option('--print', 'print the configuration with all defaults, as YAML, without passwords').conflicts([
          'json',
          'sarif',
          'online',
        ]),
      )
      .addOption(new Option('--json', 'print the result for programs: {"ok": …, "problems": […], "warnings": […]}').conflicts('sarif'))
      .option('--sarif', 'print the result as SARIF 2.1.0, for code hosts')
      .option('--strict', 'every warning is a problem, for example a misspelt role, but not a file that is missing on this machine; for CI')
      .option('--notes', 'also print what is harmless, such as routes that overlap')
      .option('--online', 'also ask every server that the configuration names, 3 seconds each; nothing is written'),
    `
portcullis check portcullis.yaml
portcullis check --config portcullis.yaml --print
portcullis check portcullis.yaml --strict --json
portcullis check portcullis.yaml --strict --sarif > portcullis.sarif
portcullis check portcullis.yaml --online
`,
    `A problem is a line file:line:column: setting: what is wrong, and mostly a second line: what would be right. The exit code is then 2.
With --online the exit code is 1 when the configuration is valid and a server does not answer.`,
  ).action(async (file: string | undefined, args: CheckArgs) => {
    const report = await check(terminal, args, fileOf(file, args))
    terminal.exitCode = report.problems.length > 0 ? 2 : report.online.some(({ fault }) => fault !== null) ? 1 : 0
    if (args.json) await printJson(terminal, args, report)
    else if (args.sarif) await printSarif(terminal, args, report)
    else await printText(terminal, args, report)
  })

interface Report {
  /** Null: it has problems. */
  config: Config | null
  problems: ConfigProblem[]
  warnings: ConfigProblem[]
  notes: ConfigProblem[]
  /** Empty without --online. */
  online: OnlineResult[]
}

/** A file that is not on this machine stays a warning: the gateway may run on another. */
async function check(terminal: Terminal, args: CheckArgs, file: string | undefined): Promise<Report> {
  const { ConfigError } = await import('../app/load-config.ts')
  try {
    const { config, warnings, absentFiles, notes } = await load(terminal, args, { file, needSecrets: false })
    if (args.strict && warnings.length > 0) return { config: null, problems: warnings, warnings: absentFiles, notes, online: [] }
    const online = args.online ? await (await import('../app/check-online.ts')).checkOnline(config) : []
    return { config, problems: [], warnings: [...warnings, ...absentFiles], notes, online }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const { problems, warnings } = error
    const areProblems = args.strict ? [...problems, ...warnings] : problems
    return { config: null, problems: areProblems, warnings: args.strict ? [] : warnings, notes: [], online: [] }
  }
}

async function printText(terminal: Terminal, args: CheckArgs, { config, problems, warnings, notes, online }: Report): Promise<void> {
  const { problemLines } = await import('../platform/config/source.ts')
  await complainOfWarnings(terminal, warnings)
  if (problems.length > 0) terminal.complain(problems.map(problemLines).join('\n'))
  if (args.notes) for (const note of notes) terminal.complain(`note: ${problemLines(note)}`)
  if (config === null) return
  if (args.print) {
    const [{ stringify }, { withoutSecrets }] = await Promise.all([import('yaml'), import('../platform/config/shown.ts')])
    return terminal.print(stringify(withoutSecrets(config)).trimEnd())
  }
  terminal.print('the configuration is valid')
  for (const { name, question, fault } of online) {
    if (fault === null) terminal.print(`${name}: answers (${question})`)
    else terminal.complain(`${name}: does not answer (${question}): ${fault}`)
  }
}

async function printJson(terminal: Terminal, args: CheckArgs, { problems, warnings, notes, online }: Report): Promise<void> {
  const { formatProblem } = await import('../platform/config/source.ts')
  terminal.printJson({
    ok: terminal.exitCode === 0,
    problems: problems.map(formatProblem),
    warnings: warnings.map(formatProblem),
    ...(args.notes && { notes: notes.map(formatProblem) }),
    ...(args.online && {
      servers: online.map(({ name, question, fault }) => ({ name, question, ok: fault === null, ...(fault !== null && { fault }) })),
    }),
  })
}

async function printSarif(terminal: Terminal, args: CheckArgs, { problems, warnings, notes, online }: Report): Promise<void> {
  const { sarifOf } = await import('./sarif.ts')
  const away = online.filter(({ fault }) => fault !== null)
  terminal.printJson(
    sarifOf([
      ...problems.map((problem) => ({ level: 'error' as const, problem })),
      ...warnings.map((problem) => ({ level: 'warning' as const, problem })),
      ...(args.notes ? notes.map((problem) => ({ level: 'note' as const, problem })) : []),
      ...away.map(({ name, question, fault, path }) => ({
        level: 'error' as const,
        problem: {
          rule: 'server-away',
          where: '',
          path: path.join('.'),
          message: `${name} does not answer (${question}): ${fault}`,
        },
      })),
    ]),
  )
}
