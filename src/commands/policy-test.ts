/** `policy test`: the operator's own cases, for continuous integration. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Command } from 'commander'
import { fileErrorText } from '../platform/lib/errors.ts'
import type { LocatedCase } from '../proxy/policy/policy-cases.ts'
import type { CaseResult } from '../proxy/policy/run-cases.ts'
import { withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { findCallers, loadForPolicy, NAME_A_USER, type PolicyArgs } from './policy-callers.ts'
import { type Terminal, table } from './terminal.ts'
import { cannotRead, UsageError } from './usage.ts'

interface TestArgs extends PolicyArgs {
  junit?: string
}

export const testCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('test').description('runs the cases of files against a configuration').argument('<FILE...>', 'files of cases'))
      .option('--junit <OUT>', 'also write the results as JUnit XML')
      .option('--json', 'print JSON instead of a table'),
    `
portcullis policy test policy.yaml
portcullis policy test policy.yaml --config portcullis.yaml --junit reports/policy.xml
`,
    'Exit code 0: every case passed. 1: a case failed, or the database is away. 2: a file or the configuration is wrong.\nCases that name a user ask the database. All other cases need only the files.',
  ).action((files: string[], args: TestArgs) => runTests(terminal, files, args))

async function runTests(terminal: Terminal, files: readonly string[], args: TestArgs): Promise<void> {
  const [{ readPolicyCases }, { createRunCase }, { createExplain }, { createCallers }, { systemClock }, { ConfigError }] =
    await Promise.all([
      import('../proxy/policy/policy-cases.ts'),
      import('../proxy/policy/run-cases.ts'),
      import('../proxy/policy/explain.ts'),
      import('../proxy/policy/callers.ts'),
      import('../platform/lib/clock.ts'),
      import('../app/load-config.ts'),
    ])
  const loaded = await loadForPolicy(terminal, args)
  const { config } = loaded
  const read = await Promise.all(
    files.map(async (file) => {
      const text = await readFile(file, 'utf8').catch((error) => {
        throw cannotRead(file, error)
      })
      return { file, ...readPolicyCases(file, text, config) }
    }),
  )
  const problems = read.flatMap((one) => one.problems)
  if (problems.length > 0) throw new ConfigError(problems)
  const cases = read.flatMap((one) => one.cases)
  const { users } = await findCallers(terminal, loaded, { users: [...new Set(cases.flatMap(userOf))], token: null })
  const unknown = cases.filter((one) => userOf(one).some((login) => !users.has(login)))
  if (unknown.length > 0)
    throw new ConfigError(
      unknown.map((one) => ({
        where: one.where,
        path: 'principal.user',
        message: `there is no user ${userOf(one)[0]}`,
        hint: NAME_A_USER,
      })),
    )
  const now = systemClock.now()
  const run = createRunCase({
    explain: createExplain({ config, now: () => now }),
    callers: createCallers(config),
    users,
    nowSeconds: now / 1000,
  })
  const results = read.map(({ file, cases }) => ({ file, results: cases.map(run) }))
  const all = results.flatMap((one) => one.results)
  if (args.junit !== undefined) {
    const { junitOf } = await import('../proxy/policy/junit.ts')
    await write(args.junit, junitOf(results))
  }
  const failed = all.filter(({ faults }) => faults.length > 0)
  if (args.json) terminal.printJson({ ok: failed.length === 0, passed: all.length - failed.length, failed: failed.length, results: all })
  else printResults(terminal, all, failed)
  if (failed.length > 0) terminal.exitCode = 1
}

/** The user that a case names, if any. */
const userOf = ({ principal }: LocatedCase): string[] =>
  typeof principal === 'object' && principal.user !== undefined ? [principal.user] : []

function printResults(terminal: Terminal, all: readonly CaseResult[], failed: readonly CaseResult[]): void {
  terminal.print(
    table(
      all.map(({ name, request, caller, decision, faults }) => ({
        result: faults.length === 0 ? 'passed' : 'FAILED',
        case: name,
        request,
        caller,
        decision,
      })),
    ),
  )
  for (const { where, name, faults } of failed) terminal.print(`\n${where}: ${name}\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
  terminal.print(`\n${all.length - failed.length} passed, ${failed.length} failed`)
}

async function write(file: string, text: string): Promise<void> {
  const writing = mkdir(dirname(file), { recursive: true }).then(() => writeFile(file, text))
  await writing.catch((error) => {
    throw new UsageError(`--junit ${file}: cannot be written: ${fileErrorText(error)}`)
  })
}
