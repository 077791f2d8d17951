/** Looks at everything that a gateway needs, all at the same time, and changes nothing. */
import type { Config, Secrets } from '../../platform/config/schema.ts'
import { type ConfigProblem, formatProblem } from '../../platform/config/source.ts'
import { openDatabase } from '../../platform/db/database.ts'
import { describeDatabase, isDatabaseThere } from '../../platform/db/describe-database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { withDeadline } from '../../platform/lib/deadline.ts'
import { causeText } from '../../platform/lib/errors.ts'
import { VERSION } from '../../platform/lib/version.ts'
import { createLogger } from '../../platform/telemetry/logger.ts'
import { certificateRows } from './certificates.ts'
import { databaseRows, unreachableRow } from './database.ts'
import { listenerRows } from './listeners.ts'
import { coresRow, descriptorRow, diskRows, memoryRow, ntpRow } from './machine.ts'
import { permissionRows } from './permissions.ts'
import { redisRows } from './redis.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'
import { findGateway, type RunningGateway } from './running-gateway.ts'
import { serverRows } from './servers.ts'

export interface Examination {
  config: Config
  secrets: Secrets
  problems: readonly ConfigProblem[]
  warnings: readonly ConfigProblem[]
  /** Files that are not on this machine. */
  absentFiles: readonly ConfigProblem[]
  /** The configuration. Undefined: there is none. */
  file: string | undefined
  envFile: string | undefined
  /** Variables of a file beside the configuration that are not set here. */
  unset: { file: string; names: readonly string[] } | null
  clock: Clock
  /** Asks the gateway that has the embedded database open. Null: it does not listen. */
  askGateway(): Promise<Row[] | null>
}

interface Check {
  name: string
  /** Sections of the configuration: while one of them is wrong, nothing can be said. */
  needs: (keyof Config)[]
  run(gateway: RunningGateway | null): Row[] | Promise<Row[]>
}

const TIMEOUT_MS = 10_000
export const OLDEST_NODE = '22.19.0'

/** @returns rows in the order of the checks */
export async function examine(examination: Examination): Promise<Row[]> {
  const { config, problems, clock } = examination
  const wrong = wrongSections(problems)
  const isWrong = (section: string) => wrong === 'all' || wrong.has(section)
  const gateway = isWrong('admin') ? null : await findGateway(config)
  const checks: Check[] = [
    { name: 'programs', needs: [], run: () => programRows(gateway) },
    { name: 'configuration', needs: [], run: () => [rowOf('configuration', judgeConfiguration(examination))] },
    { name: 'environment', needs: [], run: () => environmentRows(examination) },
    { name: 'database', needs: ['database', 'server', 'redis'], run: () => storedRows(examination) },
    { name: 'Redis', needs: ['redis'], run: () => redisRows(config.redis.url, clock) },
    { name: 'servers', needs: ['mail', 'auth', 'issuers', 'database'], run: () => serverRows(config) },
    { name: 'ports', needs: ['server', 'admin'], run: () => listenerRows(config, gateway) },
    { name: 'certificates', needs: ['server'], run: () => certificateRows(config, clock) },
    { name: 'permissions', needs: ['server', 'database', 'mail'], run: () => permissionRows(examination) },
    { name: 'disk', needs: ['database', 'mail'], run: () => diskRows(config) },
    { name: 'open files', needs: ['server', 'database', 'redis'], run: () => [descriptorRow(config, gateway)] },
    { name: 'memory', needs: ['server', 'auth'], run: () => [memoryRow(config)] },
    { name: 'cores', needs: ['server', 'auth'], run: () => [coresRow(config)] },
    { name: 'time service', needs: [], run: async () => [await ntpRow()] },
  ]
  const rows = await Promise.all(
    checks.map(async ({ name, needs, run }) => {
      const missing = needs.find(isWrong)
      if (missing !== undefined) return [rowOf(name, notChecked(`the section ${missing} of the configuration is wrong`))]
      try {
        return await withDeadline(Promise.resolve(run(gateway)), TIMEOUT_MS)
      } catch (error) {
        return [rowOf(name, notChecked(causeText(error)))]
      }
    }),
  )
  return rows.flat()
}

/** @returns the sections that the problems are about; `all` when the file cannot be understood */
function wrongSections(problems: readonly ConfigProblem[]): ReadonlySet<string> | 'all' {
  const sections = new Set<string>()
  for (const { path, where } of problems) {
    const [section] = path.split(/[.[]/)
    if (section) sections.add(section)
    // a secret has no path
    else if (!/^PORTCULLIS_(SECRET_KEY|ADMIN_)/.test(where)) return 'all'
  }
  return sections
}

function programRows(gateway: RunningGateway | null): Row[] {
  const running =
    gateway === null ? notChecked('no gateway answers at the admin listener', 'start it: portcullis serve') : judgeGateway(gateway)
  return [rowOf('Node.js', judgeNode(process.versions.node)), rowOf('running gateway', running)]
}

export function judgeNode(version: string): Finding {
  const parts = (text: string) => text.split('.').map(Number)
  const [have, least] = [parts(version), parts(OLDEST_NODE)]
  const at = least.findIndex((part, i) => have[i] !== part)
  const isOld = at >= 0 && (have[at] ?? 0) < least[at]!
  return isOld ? fail(`version ${version}`, `install Node ${OLDEST_NODE} or newer`) : ok(`version ${version}, for Portcullis ${VERSION}`)
}

export function judgeGateway({ isReady, failing, version, owner }: RunningGateway): Finding {
  const where = owner === null ? '' : `, process ${owner.pid}`
  const found = `version ${version ?? 'not known'}${where}`
  if (!isReady) return fail(`${found}, is not ready: ${failing.join(', ')}`, 'look at its log, and at the rows below')
  if (version !== null && version !== VERSION)
    return warn(`${found}; this command is version ${VERSION}`, 'restart the gateway, or run its own command')
  return failing.length > 0
    ? warn(`${found}, is ready; not well: ${failing.join(', ')}`, 'look at its log, and at the rows below')
    : ok(`${found}, is ready`)
}

function judgeConfiguration({ problems, warnings, absentFiles, file }: Examination): Finding {
  const command = `portcullis check${file === undefined ? '' : ` ${file}`}`
  const [problem] = problems
  const also = (others: number) => (others > 0 ? ` (and ${others} more)` : '')
  if (problem !== undefined) return fail(`${formatProblem(problem)}${also(problems.length - 1)}`, `correct it: ${command}`)
  const [warning] = [...warnings, ...absentFiles]
  if (warning !== undefined) return warn(`${formatProblem(warning)}${also(warnings.length + absentFiles.length - 1)}`, `see: ${command}`)
  return ok(file ?? 'no file: every setting has its default, or is from the environment')
}

function environmentRows({ secrets, problems, unset }: Examination): Row[] {
  const isWrong = problems.some(({ where }) => where.startsWith('PORTCULLIS_SECRET_KEY'))
  const key = isWrong
    ? fail('PORTCULLIS_SECRET_KEY has a wrong form', 'set it to 32 random bytes in base64, for example from: openssl rand -base64 32')
    : secrets.secretKey === null
      ? notChecked('PORTCULLIS_SECRET_KEY is not set here', 'name the file of the variables: --env-file FILE')
      : ok('PORTCULLIS_SECRET_KEY is set')
  return [
    rowOf('environment', key),
    ...(unset === null
      ? []
      : [
          rowOf('environment', warn(`${unset.file} sets ${unset.names.join(', ')}, and here they are not set`, `--env-file ${unset.file}`)),
        ]),
  ]
}

/** The database of the configuration: Postgres, the embedded database in this process, or through the gateway that has it open. */
async function storedRows({ config, secrets, clock, askGateway }: Examination): Promise<Row[]> {
  const isEmbedded = config.database.url === 'embedded'
  const name = isEmbedded ? 'embedded database' : 'Postgres'
  if (isEmbedded) {
    const answered = await askGateway()
    if (answered !== null) return answered
    if (!isDatabaseThere(config.database))
      return [rowOf(name, notChecked(`${describeDatabase(config.database)}: it is made at the first start`))]
  }
  try {
    const database = await openDatabase(config.database, createLogger('silent', { write: () => {} }))
    try {
      return await databaseRows({ config, secrets, db: database.db, kind: database.kind, clock })
    } finally {
      await database.close()
    }
  } catch (error) {
    return [unreachableRow(name, error)]
  }
}
