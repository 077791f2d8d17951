import { existsSync, readFileSync } from 'node:fs'
import { Writable } from 'node:stream'
import { parseEnv } from 'node:util'
import { Command } from 'commander'
import type { Row } from '../app/doctor/row.ts'
import type { ConfigReading } from '../app/load-config.ts'
import type { Config } from '../platform/config/schema.ts'
import { systemClock } from '../platform/lib/clock.ts'
import { runInGateway, socketOf } from './command-socket.ts'
import { type ConfigArgs, settingsOf, sourceOf, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { type Terminal, table } from './terminal.ts'
import { cannotRead } from './usage.ts'

interface DoctorArgs extends ConfigArgs {
  envFile?: string
  json?: boolean
}

export const doctorCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('doctor').description('examines this machine, the stores and all servers, and says what to do; changes nothing'))
      .option('--env-file <FILE>', 'the variables of the gateway, such as .env or /etc/portcullis/env')
      .option('--json', 'print the result for programs: {"ok": …, "checks": […]}'),
    `
portcullis doctor
portcullis doctor --env-file .env
sudo portcullis doctor --config /etc/portcullis/portcullis.yaml --env-file /etc/portcullis/env
portcullis doctor --json
`,
    `It works while the gateway runs, and before its first start. Run it as the user of the gateway, or as root.
Exit code: 0 nothing fails, 1 something fails, 2 the configuration is wrong.`,
  ).action(async (args: DoctorArgs) => {
    if (terminal.gateway) return terminal.printJson(await rowsOfGateway(terminal.gateway))
    const { rows, isValid } = await examineAll(terminal, args)
    const isOk = rows.every(({ state }) => state !== 'fail')
    terminal.exitCode = !isValid ? 2 : isOk ? 0 : 1
    if (args.json)
      return terminal.printJson({ ok: isOk, checks: rows.map(({ advice, ...row }) => ({ ...row, ...(advice !== null && { advice }) })) })
    terminal.print(table(rows.flatMap(linesOf)))
    terminal.print(`\n${summaryOf(rows)}`)
  })

/** What to do stands below what was found, so that a command can be copied. */
const linesOf = ({ check, state, found, advice }: Row) => [
  { check, state, 'what was found, and what to do': found },
  ...(advice === null ? [] : [{ check: '', state: '', 'what was found, and what to do': `→ ${advice}` }]),
]

function summaryOf(rows: readonly Row[]): string {
  const count = (state: Row['state']) => rows.filter((row) => row.state === state).length
  return `${count('ok')} ok, ${count('warn')} warnings, ${count('fail')} failures, ${count('not checked')} not checked`
}

async function examineAll(terminal: Terminal, args: DoctorArgs): Promise<{ rows: Row[]; isValid: boolean }> {
  const file = sourceOf(args.config)
  const env = { ...terminal.io.env, ...(args.envFile === undefined ? {} : readVariables(args.envFile)) }
  const [{ readConfig }, { examine }, { environmentFilesBeside }] = await Promise.all([
    import('../app/load-config.ts'),
    import('../app/doctor/examine.ts'),
    import('../app/doctor/permissions.ts'),
  ])
  const reading: ConfigReading = readConfig({ file, env, flags: settingsOf(args), needSecrets: false })
  const rows = await examine({
    ...reading,
    file,
    envFile: args.envFile,
    unset: args.envFile !== undefined || file === undefined ? null : unsetIn(environmentFilesBeside(file), env),
    clock: systemClock,
    askGateway: () => askGateway(terminal, reading.config),
  })
  return { rows, isValid: reading.problems.length === 0 }
}

function readVariables(file: string): NodeJS.ProcessEnv {
  try {
    return parseEnv(readFileSync(file, 'utf8'))
  } catch (error) {
    throw cannotRead(`--env-file ${file}`, error)
  }
}

/** The first of the files with variables that this shell lacks. */
function unsetIn(files: readonly string[], env: NodeJS.ProcessEnv): { file: string; names: string[] } | null {
  for (const file of files) {
    const names = Object.entries(readIfAllowed(file)).flatMap(([name, value]) => (value && env[name] === undefined ? [name] : []))
    if (names.length > 0) return { file, names: names.sort() }
  }
  return null
}

function readIfAllowed(file: string): NodeJS.ProcessEnv {
  try {
    return parseEnv(readFileSync(file, 'utf8'))
  } catch {
    return {}
  }
}

/** The embedded database has one process: a gateway that runs answers for it. @returns null when none runs */
async function askGateway(terminal: Terminal, { database }: Config): Promise<Row[] | null> {
  if (!existsSync(socketOf(database.dataDir))) return null
  let answer = ''
  const stdout = new Writable({
    decodeStrings: false,
    write(text, _, done) {
      answer += text
      done()
    },
  })
  const { rowOf, notChecked } = await import('../app/doctor/row.ts')
  const unknown = (reason: string, advice: string | null = null) => [rowOf('embedded database', notChecked(reason, advice))]
  try {
    const io = { ...terminal.io, stdout, stderr: new Writable({ write: (_text, _, done) => done() }) }
    const exitCode = await runInGateway(database.dataDir, { ...terminal, io, argv: ['doctor', '--json'], input: null, complain: () => {} })
    if (exitCode === null) return null
    return exitCode === 0 ? (JSON.parse(answer) as Row[]) : unknown('the running gateway is of a version that does not know this command')
  } catch (error) {
    return unknown((error as Error).message, 'run this command as the user of the gateway')
  }
}

/** Within the gateway that has the embedded database open. */
async function rowsOfGateway({ platform }: NonNullable<Terminal['gateway']>): Promise<Row[]> {
  const { databaseRows } = await import('../app/doctor/database.ts')
  const { config, db, database } = platform
  const rows = await databaseRows({
    config,
    secrets: { secretKey: null, previousSecretKey: null },
    db,
    kind: database.kind,
    clock: systemClock,
  })
  // the gateway has started with its key
  return rows.filter(({ check }) => check !== 'secret key')
}
