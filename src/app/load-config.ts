import { existsSync, readFileSync } from 'node:fs'
import { Value } from 'typebox/value'
import { brandFiles, refusedBrandFiles } from '../identity/pages/brand-files.ts'
import { isFileName, shownPath } from '../platform/config/harmless.ts'
import { BROWSER_POLICIES, type Config, ConfigSchema, DEFAULT_POLICIES, type Secrets } from '../platform/config/schema.ts'
import {
  type ConfigProblem,
  type ConfigSource,
  formatProblem,
  overlay,
  type Path,
  readEnvironment,
  readYaml,
} from '../platform/config/source.ts'
import { readTracingVariables, type TracingSettings } from '../platform/config/tracing-variables.ts'
import { createValidate, type Invalid } from '../platform/config/validate.ts'
import { networkFilesOf } from '../platform/geo/client-data.ts'
import { problemOfCountryDatabase } from '../platform/geo/country-database.ts'
import { fileErrorText } from '../platform/lib/errors.ts'
import { problemsOfNetworkFile } from '../platform/request/network-file.ts'
import { readTextFiles } from '../platform/texts/text-files.ts'
import { checkConfig } from '../proxy/routing/check-config.ts'
import { checkCertificate } from './check-certificate.ts'

/** All problems of a configuration together. Exit code 2. */
export class ConfigError extends Error {
  readonly problems: ConfigProblem[]
  readonly warnings: ConfigProblem[]
  constructor(problems: ConfigProblem[], warnings: ConfigProblem[] = []) {
    super(problems.map(formatProblem).join('\n'))
    this.problems = problems
    this.warnings = warnings
  }
}

export interface LoadOptions {
  file?: string | undefined
  env?: NodeJS.ProcessEnv
  /** `a.b=value`; flags override the environment, the environment overrides the file. */
  flags?: string[]
  /** False: the secret key may be missing. Default: true. */
  needSecrets?: boolean | ((config: Config) => boolean)
}

export interface Loaded {
  config: Config
  secrets: Secrets
  /** Null: tracing is off. */
  tracing: TracingSettings | null
  warnings: ConfigProblem[]
  /** Harmless: for `check --notes` alone. */
  notes: ConfigProblem[]
  /** Files of keys and certificates that are not on this machine. The gateway may run on another. */
  absentFiles: ConfigProblem[]
}

export interface ConfigReading extends Loaded {
  /** With problems, what is wrong has its default in `config`, and routes that are wrong are missing. */
  problems: ConfigProblem[]
}

/** Reads, overlays, validates and checks. @throws ConfigError with every problem found. */
export function loadConfig(options: LoadOptions): Loaded {
  const { problems, ...loaded } = readConfig(options)
  if (problems.length) throw new ConfigError(problems, loaded.warnings)
  return loaded
}

/** The same, for a program that goes on with what is right. @throws ConfigError when the file cannot be read */
export function readConfig({ file, env = process.env, flags = [], needSecrets = true }: LoadOptions): ConfigReading {
  const variables = readEnvironment(env, (path) => readFileSync(path, 'utf8'))
  const source = overlay(readSource(file), ConfigSchema, variables.values, flags)
  const value = Value.Default(ConfigSchema, structuredClone(source.value)) as Config
  const invalid = validate(value, source)
  const { sound, routeNumbers, trimmed } = soundPart(value, invalid)

  const config = withDerived(sound)
  const { problems, warnings, notes } = checkConfig(config, { isComplete: !trimmed.length })
  const place = ({ path, message, hint, rule }: { path: Path; message: string; hint?: string; rule?: string }): ConfigProblem => {
    const original = path[0] === 'routes' && typeof path[1] === 'number' ? ['routes', routeNumbers[path[1]]!, ...path.slice(2)] : path
    return { where: source.locate(original), path: shownPath(original), message, hint, rule }
  }
  const secrets = readSecrets(variables.values)
  const tracing = readTracingVariables(env, (path) => readFileSync(path, 'utf8'))
  const isNeeded = typeof needSecrets === 'function' ? needSecrets(config) : needSecrets
  const clients = isNeeded ? readClientSecrets(config, env) : { secrets: {}, problems: [] }
  const binding = isNeeded ? readAcmeBinding(config, env) : { hmacKey: null, problems: [] }
  const missing = isNeeded && !secrets.secrets.secretKey && !secrets.problems.length ? [NO_KEY] : []
  const all = [
    ...source.problems,
    ...variables.problems,
    ...invalid.map((p) => p.problem),
    ...brandProblems(config).map(place),
    ...problems.map(place).filter(({ path }) => !trimmed.some((key) => shownPath(key.slice(0, -1)) === path)),
    ...readTextFiles(config.auth.browser.texts, { skipAbsent: true }).problems,
    ...networkFilesOf(config).flatMap(problemsOfNetworkFile),
    ...databaseProblems(config).map(place),
    ...secrets.problems,
    ...clients.problems.map(place),
    ...tracing.problems,
    ...binding.problems.map(place),
    ...missing,
  ]
  // a section that was left out would cause wrong warnings, and the routes may be among what is wrong
  const areSure = !source.problems.length && invalid.every(({ path, isUnknownKey }) => isUnknownKey || path[0] === 'routes')
  const sure = all.length === 0 ? [...warnings, ...checkCertificate(config)] : areSure ? warnings.filter(({ path }) => path.length > 1) : []
  return {
    config,
    problems: inOrder(all),
    secrets: { ...secrets.secrets, providers: clients.secrets, acmeHmacKey: binding.hmacKey },
    tracing: tracing.settings,
    warnings: sure.map(place),
    notes: notes.map(place),
    absentFiles: absentFiles(config).map(place),
  }
}

/** Reads no more than this section, so that the rest may be wrong. What cannot be read is the default. */
export function readAdminAddress({ file, env = process.env, flags = [] }: LoadOptions): Config['admin'] {
  const fallback = Value.Default(ConfigSchema.properties.admin, {}) as Config['admin']
  try {
    const variables = readEnvironment(env, (path) => readFileSync(path, 'utf8'))
    const { value } = overlay(readSource(file), ConfigSchema, variables.values, flags)
    const admin = Value.Default(ConfigSchema.properties.admin, value.admin ?? {})
    return Value.Check(ConfigSchema.properties.admin, admin) ? (admin as Config['admin']) : fallback
  } catch {
    return fallback
  }
}

function readSource(file: string | undefined): ConfigSource {
  if (!file) return { value: {}, problems: [], locate: () => 'environment' }
  try {
    return readYaml(file, readFileSync(file, 'utf8'))
  } catch (error) {
    throw new ConfigError([{ where: file, path: '', message: `cannot be read: ${fileErrorText(error)}`, hint: UNREADABLE }])
  }
}

const UNREADABLE = 'name a YAML file that this user can read: --config FILE; config/portcullis.yaml is an example'

interface NamedFile {
  path: Path
  file: string
}

/** The files that a configuration names. A start fails without them. */
function namedFiles({ server, auth, geo, issuers, routes }: Config): NamedFile[] {
  const upstreams = routes.flatMap((route, i) =>
    route.upstream.map((upstream, j) => ({
      tls: typeof upstream === 'string' ? undefined : upstream.tls,
      path: ['routes', i, 'upstream', j],
    })),
  )
  const acme = server.tls?.acme?.ca === undefined ? [] : [{ path: ['server', 'tls', 'acme', 'ca'], file: server.tls.acme.ca }]
  const tls = [{ tls: server.tls, path: ['server'] }, ...upstreams].flatMap(({ tls, path }) =>
    (['ca', 'cert', 'key'] as const).flatMap((name) => {
      const file = (tls as Partial<Record<typeof name, string>> | undefined)?.[name]
      return file === undefined ? [] : [{ path: [...path, 'tls', name], file }]
    }),
  )
  const providers = auth.providers.flatMap(({ caFile, clientSecretJwt }, i) => [
    ...(caFile === undefined ? [] : [{ path: ['auth', 'providers', i, 'caFile'], file: caFile }]),
    ...(clientSecretJwt === undefined
      ? []
      : [{ path: ['auth', 'providers', i, 'clientSecretJwt', 'keyFile'], file: clientSecretJwt.keyFile }]),
  ])
  const ofIssuers = issuers.flatMap((issuer, i) =>
    (['caFile', 'tokenFile'] as const).flatMap((name) => {
      const file = issuer[name]
      return file === undefined ? [] : [{ path: ['issuers', i, name], file }]
    }),
  )
  const brand = brandFiles(auth.browser.brand).map(({ name, file }) => ({ path: [...BRAND, name], file }))
  const texts = Object.entries(auth.browser.texts).map(([code, file]) => ({ path: [...TEXTS, code], file }))
  const networks = routes.flatMap(({ networks }, i) =>
    (['allowFile', 'denyFile'] as const).flatMap((key) => {
      const file = networks[key]
      return file === undefined ? [] : [{ path: ['routes', i, 'networks', key], file }]
    }),
  )
  const database = geo.database === undefined ? [] : [{ path: DATABASE, file: geo.database }]
  return [...tls, ...acme, ...providers, ...ofIssuers, ...brand, ...texts, ...networks, ...database]
}

/** The files whose change asks for a reload, besides the configuration's own. A token is read each time that it is needed. */
export const filesOf = (config: Config): string[] =>
  namedFiles(config).flatMap(({ path, file }) => (path.at(-1) === 'tokenFile' ? [] : [file]))

const absentFiles = (config: Config) => namedFiles(config).flatMap(({ path, file }) => (existsSync(file) ? [] : [absent(path, file)]))

const absent = (path: Path, file: string) => ({
  rule: 'file-absent',
  path,
  message: `there is no ${isFileName(file) ? file : 'such file'} on this machine`,
  hint: 'the gateway does not start without it',
})

const BRAND = ['auth', 'browser', 'brand']
const TEXTS = ['auth', 'browser', 'texts']
const DATABASE = ['geo', 'database']

function databaseProblems({ geo }: Config): { path: Path; message: string; hint?: string }[] {
  const problem = geo.database === undefined ? null : problemOfCountryDatabase(geo.database)
  return problem ? [{ path: DATABASE, message: problem.message, ...(problem.hint !== undefined && { hint: problem.hint }) }] : []
}

const brandProblems = ({ auth }: Config): { path: Path; message: string; hint: string }[] =>
  refusedBrandFiles(auth.browser.brand).map(({ name, ...refusal }) => ({ path: [...BRAND, name], ...refusal }))

function withDerived(value: Config): Config {
  const { server, tokens, auth, limits } = value
  const publicUrl = (server.publicUrl ?? `${server.tls ? 'https' : 'http'}://localhost:${server.port}`).replace(/\/$/, '')
  return {
    ...value,
    server: { ...server, publicUrl },
    tokens: { ...tokens, issuer: tokens.issuer ?? publicUrl },
    limits: { ...limits, policies: { ...(auth.browser.enabled ? BROWSER_POLICIES : DEFAULT_POLICIES), ...limits.policies } },
  }
}

const RANDOM_KEY = 'give 32 random bytes in base64, for example from: openssl rand -base64 32'

const NO_KEY: ConfigProblem = {
  where: 'PORTCULLIS_SECRET_KEY',
  path: '',
  message: 'is required',
  hint: RANDOM_KEY,
}

function readSecrets(values: ReadonlyMap<string, string>): {
  secrets: Omit<Secrets, 'providers' | 'acmeHmacKey'>
  problems: ConfigProblem[]
} {
  const problems: ConfigProblem[] = []
  const key = (name: string) => {
    const text = values.get(name)
    if (text === undefined) return null
    const bytes = Buffer.from(text, 'base64')
    // the value itself is never shown: it may be a secret with a typing error
    if (bytes.length !== 32)
      problems.push({ where: name, path: '', message: `must be 32 bytes in base64 (it holds ${bytes.length})`, hint: RANDOM_KEY })
    else if (new Set(bytes).size < 8) problems.push({ where: name, path: '', message: 'is not random', hint: RANDOM_KEY })
    return bytes
  }
  const pair = ['PORTCULLIS_ADMIN_EMAIL', 'PORTCULLIS_ADMIN_PASSWORD']
  const alone = pair.filter((name) => !values.has(name))
  if (alone.length === 1)
    problems.push({ where: alone[0]!, path: '', message: 'is missing', hint: `set both ${pair.join(' and ')}, or neither` })
  const secrets = {
    secretKey: key('PORTCULLIS_SECRET_KEY'),
    previousSecretKey: key('PORTCULLIS_SECRET_KEY_PREVIOUS'),
    adminEmail: values.get('PORTCULLIS_ADMIN_EMAIL') ?? null,
    adminPassword: values.get('PORTCULLIS_ADMIN_PASSWORD') ?? null,
  }
  return { secrets, problems }
}

interface NamedSecret {
  value: string | null
  problem: { path: Path; message: string; hint: string } | null
}

/** A secret in a variable of the operator's choice, or in the file that the variable with _FILE names. @param what its usual name */
function readNamedSecret(name: string, path: Path, what: string, env: NodeJS.ProcessEnv): NamedSecret {
  const file = env[`${name}_FILE`]
  try {
    const value = env[name] ?? (file === undefined ? '' : readFileSync(file, 'utf8').trim())
    if (value !== '') return { value, problem: null }
    const hint = `set it, or ${name}_FILE, to the ${what}`
    return { value: null, problem: { path, message: `the environment variable ${name} is not set`, hint } }
  } catch (error) {
    const message = `the file of ${name}_FILE cannot be read: ${fileErrorText(error)}`
    return { value: null, problem: { path, message, hint: 'name a file that this user can read' } }
  }
}

/** The secrets that providers gave this gateway. */
function readClientSecrets({ auth }: Config, env: NodeJS.ProcessEnv) {
  const secrets: Record<string, string> = {}
  const problems: NonNullable<NamedSecret['problem']>[] = []
  auth.providers.forEach(({ id, clientSecretEnv: name }, i) => {
    if (name === undefined) return
    const { value, problem } = readNamedSecret(name, ['auth', 'providers', i, 'clientSecretEnv'], 'client secret', env)
    if (value !== null) secrets[id] = value
    if (problem) problems.push(problem)
  })
  return { secrets, problems }
}

const HMAC_KEY = /^[A-Za-z0-9_-]{16,}={0,2}$/

function readAcmeBinding(
  { server }: Config,
  env: NodeJS.ProcessEnv,
): { hmacKey: string | null; problems: NonNullable<NamedSecret['problem']>[] } {
  const name = server.tls?.acme?.eab?.hmacKeyEnv
  if (name === undefined) return { hmacKey: null, problems: [] }
  const path = ['server', 'tls', 'acme', 'eab', 'hmacKeyEnv']
  const { value, problem } = readNamedSecret(name, path, 'HMAC key', env)
  if (problem) return { hmacKey: null, problems: [problem] }
  if (HMAC_KEY.test(value!)) return { hmacKey: value, problems: [] }
  // the value itself is never shown
  return { hmacKey: null, problems: [{ path, message: `${name} is not base64url`, hint: 'copy the HMAC key as the ACME server shows it' }] }
}

const validate = createValidate(ConfigSchema)

interface SoundPart {
  sound: Config
  routeNumbers: number[]
  /** Unknown keys that were removed from routes. */
  trimmed: Path[]
}

/**
 * The configuration without its invalid sections and routes, so that the rules between settings are checked in the same run. A route
 * that is valid but for unknown keys stays, without these keys.
 */
function soundPart(value: Config, invalid: Invalid[]): SoundPart {
  const ofRoutes = invalid.filter(({ path }) => path[0] === 'routes')
  const badRoutes = new Set(ofRoutes.filter(({ isUnknownKey }) => !isUnknownKey).map(({ path }) => path[1]))
  const trimmed = ofRoutes.map(({ path }) => path).filter((path) => !badRoutes.has(path[1]))
  // a default may have copied a method of a list, such as `map`, where an object was expected
  const kept = JSON.parse(JSON.stringify(value)) as typeof value
  for (const { path } of invalid) if (path[0] !== 'routes') remove(kept, path)
  for (const path of trimmed) removeKey(kept, path)
  const sound = Value.Default(ConfigSchema, kept) as Config
  const all = Array.isArray(kept.routes) ? kept.routes : []
  const routeNumbers = [...all.keys()].filter((i) => !badRoutes.has(i))
  return { sound: { ...sound, routes: routeNumbers.map((i) => all[i]!) }, routeNumbers, trimmed }
}

function removeKey(root: object, path: Path): void {
  const holder = path.slice(0, -1).reduce((at, step) => at[step] as typeof at, root as Record<string | number, unknown>)
  delete holder[path.at(-1)!]
}

/** A list is removed as a whole: without one entry the others would have other numbers. */
function remove(root: object, path: Path): void {
  let holder = root as Record<string | number, unknown>
  for (const [i, step] of path.entries()) {
    const next = holder[step]
    if (i === path.length - 1 || Array.isArray(next) || typeof next !== 'object' || next === null) {
      delete holder[step]
      return
    }
    holder = next as typeof holder
  }
}

/** Sorted by line of the file, without duplicates. */
function inOrder(problems: ConfigProblem[]): ConfigProblem[] {
  const line = ({ where }: ConfigProblem) => Number(/:(\d+):\d+$/.exec(where)?.[1] ?? 0)
  return [...new Map(problems.map((p) => [formatProblem(p), p])).values()].sort((a, b) => line(a) - line(b))
}
