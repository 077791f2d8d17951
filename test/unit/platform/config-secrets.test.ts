/** A secret in the wrong place of a configuration is in no message: in no place of any setting, in no broken file, in no flag or variable. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { parse } from 'yaml'
import { ConfigError, loadConfig } from '../../../src/app/load-config.ts'
import { type ConfigProblem, formatProblem, problemLines } from '../../../src/platform/config/source.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-secrets-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const file = join(dir, 'portcullis.yaml')

/** Each secret, and a part of it that no message may hold. */
const SECRETS: [secret: string, part: string][] = [
  ['s3cr3t-Marker/Value+9', 's3cr3t'],
  ['q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=', 'q83vEjRW'],
  ['postgres://gate:pw4You!x@db.example.com:5432/portcullis', 'pw4you'],
  ['https://gate:pw4You!x@api.example.com', 'pw4you'],
  ['//gate:pw4You@api.example.com', 'pw4you'],
  ['-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----\n', 'miievqib'],
  ['eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl', 'eyjhbgci'],
  ['Bearer a1b2c3d4e5', 'a1b2c3d4'],
  ['Tr0ub4dor & "3", {yes}: no!', 'tr0ub4dor'],
  ['correct horse battery staple', 'horse'],
  ['hunter2', 'hunter2'],
  ['9f86d081884c7d659a2feaa0c55ad015', '9f86d081'],
  ['48151623421234', '48151623'],
]

interface Given {
  yaml?: string
  env?: NodeJS.ProcessEnv
  flags?: string[]
}

const warned: string[] = []
beforeEach(() => {
  warned.length = 0
  vi.spyOn(process, 'emitWarning').mockImplementation((warning) => void warned.push(String(warning)))
})
afterEach(() => vi.restoreAllMocks())

/** Everything that a command or a log shows. */
function shownOf({ yaml = '', env = {}, flags = [] }: Given): { problems: ConfigProblem[]; text: string } {
  writeFileSync(file, yaml)
  const found = (): ConfigProblem[] => {
    try {
      const { warnings, absentFiles } = loadConfig({ file, env, flags, needSecrets: false })
      return [...warnings, ...absentFiles]
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return [...error.problems, ...error.warnings]
    }
  }
  const problems = found()
  return { problems, text: [...problems.flatMap((p) => [formatProblem(p), problemLines(p)]), ...warned].join('\n') }
}

/** @returns how many problems there were */
function expectHidden(part: string, given: Given): number {
  const { problems, text } = shownOf(given)
  const shown = text.split('\n').filter((line) => line.toLowerCase().includes(part))
  if (shown.length) expect.fail(`shows a secret: ${JSON.stringify(given).slice(0, 300)}\n${shown.join('\n')}`)
  return problems.length
}

type Path = (string | number)[]

/** The example has every setting, also those that are only in its comments. */
const example = parse(
  readFileSync(new URL('../../../config/portcullis.yaml', import.meta.url), 'utf8').replace(/^( *)# ( *(?:- )?[a-zA-Z]+:)/gm, '$1$2'),
)
const isHolder = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** All settings of the example, sections and items of lists too. The example's later routes repeat the settings of the first. */
function pathsOf(value: unknown, path: Path = []): Path[] {
  if (!isHolder(value)) return [path]
  const steps = Array.isArray(value) ? [...value.keys()].slice(0, 2) : Object.keys(value)
  return [path, ...steps.flatMap((step) => pathsOf(value[step as string], [...path, step]))]
}
const settings = pathsOf(example).filter((path) => path.length > 0)

/** Only the section of the setting, so that each of the many files is small. */
function fileWith(path: Path, value: unknown): string {
  const section = structuredClone({ [path[0]!]: example[path[0]!] })
  let holder: any = section
  for (const step of path.slice(0, -1)) holder = holder[step]
  holder[path.at(-1)!] = value
  return JSON.stringify(section)
}

const at = (path: Path): any => path.reduce<any>((value, step) => value[step], example)

const SHAPES: [shape: string, given: (path: Path, secret: string) => unknown][] = [
  ['the value', (_, secret) => secret],
  ['an item of a list', (_, secret) => [secret]],
  ['a name', (_, secret) => ({ [secret]: 1 })],
  ['a name without a value', (_, secret) => ({ [secret]: null })],
  ['a name of a section', (_, secret) => ({ [secret]: { [secret]: [secret] } })],
  ['the value of an unknown name', (_, secret) => ({ value: secret })],
  ['one more name', (path, secret) => (isHolder(at(path)) && !Array.isArray(at(path)) ? { ...at(path), [secret]: secret } : [[secret]])],
  ['one more item', (path, secret) => (Array.isArray(at(path)) ? [...at(path), secret] : [{ [secret]: secret }])],
]

describe('a secret in the wrong place is not shown', () => {
  it.each(SHAPES)('as %s, in each setting', (_, given) => {
    let reported = 0
    settings.forEach((path, i) => {
      // all secrets in turn, and for each setting the general secret
      for (const [secret, part] of [SECRETS[0]!, SECRETS[1 + (i % (SECRETS.length - 1))]!])
        reported += expectHidden(part, { yaml: fileWith(path, given(path, secret)) })
    })
    expect(settings.length).toBeGreaterThan(250)
    expect(reported).toBeGreaterThan(settings.length)
  })

  it.each(SECRETS)('in each section, whatever its form: %j', (secret, part) => {
    for (const path of settings.filter(({ length }) => length === 1))
      for (const [, given] of SHAPES) expectHidden(part, { yaml: fileWith(path, given(path, secret)) })
  })

  const BROKEN: ((secret: string) => string)[] = [
    (s) => s,
    (s) => `- ${s}`,
    (s) => `${s}:`,
    (s) => `${s}: 1\n${s}: 2\n`,
    (s) => `mail: { ${s}: 1, ${s}: 2 }`,
    (s) => `mail: { ${s} }`,
    (s) => `mail: { { ${s}: 1 }: 2 }`,
    (s) => `mail: { [${s}]: 2 }`,
    (s) => `? [${s}]\n: 1\n`,
    (s) => `? { "${s}": 1 }\n: 1\n`,
    (s) => `mail:\n  url: ${s}: ${s}\n`,
    (s) => `mail:\n  url: "${s}\n`,
    (s) => `mail:\n  url: '${s}\n`,
    (s) => `mail:\n  url: "${s}" ${s}\n`,
    (s) => `mail:\n  url: "\\q${s}"\n`,
    (s) => `mail:\n  url: [${s}\n`,
    (s) => `mail:\n  url: {${s}\n`,
    (s) => `mail:\n  url: ${s}]\n`,
    (s) => `mail:\n\turl: ${s}\n`,
    (s) => `mail:\n  url:\n\t${s}: 1\n`,
    (s) => `mail:\n  url: x\n ${s}\n`,
    (s) => `mail:\n  url: x\n${s}\n`,
    (s) => `mail:\n  url: x\n      ${s}: 1\n`,
    (s) => `mail:\n  url: *${s}\n`,
    (s) => `mail:\n  url: &${s} *${s}\n`,
    (s) => `mail:\n  url: &${s} &${s} 1\n`,
    (s) => `mail: &${s} { url: *${s} }\n`,
    (s) => `mail:\n  url: !${s} 1\n`,
    (s) => `mail:\n  url: !!${s} 1\n`,
    (s) => `mail:\n  url: !<${s}> 1\n`,
    (s) => `mail:\n  url: !a !${s} 1\n`,
    (s) => `mail:\n  url: !!int ${s}\n`,
    (s) => `mail:\n  url: !!map ${s}\n`,
    (s) => `mail:\n  url: @${s}\n`,
    (s) => `mail:\n  url: \`${s}\n`,
    (s) => `mail:\n  url: %${s}\n`,
    (s) => `mail:\n  url: |${s}\n`,
    (s) => `mail:\n  url: >${s}\n    x\n`,
    (s) => `%${s} 1\n---\nmail: {}\n`,
    (s) => `%YAML ${s}\n---\nmail: {}\n`,
    (s) => `mail: {}\n---\n${s}\n`,
    (s) => `mail: {}\n...\n${s}\n`,
    (s) => `<<: ${s}\nmail: { <<: ${s} }\n`,
    (s) => `${s}${'x'.repeat(1100)}: 1\n`,
  ]
  it.each(SECRETS)('in a file that is no YAML: %j', (secret, part) => {
    const reported = BROKEN.map((text) => expectHidden(part, { yaml: text(secret) }))
    expect(reported.filter((n) => n > 0).length).toBeGreaterThan(30)
  })

  const leaves = settings.filter((path) => path[0] !== 'routes' && !path.some((step) => typeof step === 'number') && !isHolder(at(path)))
  const variable = (path: Path) =>
    `PORTCULLIS_${path
      .map((step) =>
        String(step)
          .replace(/[A-Z]/g, (c) => `_${c}`)
          .toUpperCase(),
      )
      .join('__')}`

  it.each(SECRETS)('in a flag or a variable: %j', (secret, part) => {
    expect(leaves.length).toBeGreaterThan(100)
    const flags = leaves.flatMap((path) => [`${path.join('.')}=${secret}`, `${path.join('.')}.${secret}=1`])
    const wrong = [secret, `${secret}=1`, `server.${secret}=1`, `server.port:${secret}`, `server.port ${secret}`]
    const named = [`limits.policies.${secret}.limit=x`, `auth.browser.texts.${secret}=x`, `auth.roles.${secret}.scopes.x=x`]
    expect(expectHidden(part, { flags: [...flags, ...wrong, ...named] })).toBeGreaterThan(100)
    expect(expectHidden(part, { env: Object.fromEntries(leaves.map((path) => [variable(path), secret])) })).toBeGreaterThan(50)
    expect(expectHidden(part, { env: Object.fromEntries(leaves.map((path) => [`${variable(path)}_FILE`, secret])) })).toBeGreaterThan(100)
    const ours = ['PORTCULLIS_SECRET_KEY', 'PORTCULLIS_SECRET_KEY_PREVIOUS', 'PORTCULLIS_ADMIN_PASSWORD', 'PORTCULLIS_SECRT_KEY', 'PORT']
    for (const name of ours)
      for (const env of [{ [name]: secret }, { [`${name}_FILE`]: secret }])
        expect(expectHidden(part, { env }), `${Object.keys(env)}`).toBeGreaterThan(0)
    const names = [`PORTCULLIS_${secret}`, `PORTCULLIS_SERVER__${secret}`, `PORTCULLIS_LIMITS__POLICIES__${secret}__LIMIT`]
    for (const name of names) expect(expectHidden(part, { env: { [name]: 'x' } }), name).toBeGreaterThan(0)
  })
})

describe('a user in a public URL is refused in words', () => {
  it.each([
    'server.publicUrl',
    'tokens.issuer',
    'cors.origins',
    'auth.browser.origins',
    'auth.browser.brand.homeUrl',
    'auth.browser.brand.supportUrl',
    'auth.password.breachCheck.url',
  ])('%s', (name) => {
    for (const url of ['https://gate:pw4You!x@api.example.com/', 'https://gate@api.example.com/', 'https://gate:pw4@You@api.example.com/'])
      expect(shownOf({ flags: [`${name}=${url}`] }).text).toMatch(/must not hold a user or a password; remove the part before the @/)
    expect(shownOf({ flags: [`${name}=https://api.example.com/`] }).text).not.toMatch(/user or a password/)
  })
})

describe('a usual mistake is still shown', () => {
  it.each([
    ['server: { port: 70000 }', 'server.port: must be <= 65535, not 70000'],
    ['server: { port: 30s }', 'server.port: must be an integer, not "30s"'],
    ['log: { level: loud }', 'not "loud"'],
    ['server: { trustedProxies: ["fd00::/129"] }', 'not "fd00::/129"'],
    ['server: { publicUrl: "https://api.example.com/v1" }', 'not "https://api.example.com/v1"'],
    ['auth: { roles: { tier-2: { scope: [] } } }', 'auth.roles.tier-2.scope: unknown key; did you mean scopes?'],
    ['auth: { roles: { x8hq2: { scope: [] } } }', 'auth.roles.….scope: unknown key; did you mean scopes?'],
    ['server: { p0rt: 1 }', 'server.…: unknown key; did you mean port?'],
  ])('%s', (yaml, text) => {
    expect(shownOf({ yaml }).text).toContain(text)
  })
})
