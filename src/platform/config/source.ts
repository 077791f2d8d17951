/** Reads the sources of a configuration: a YAML file, the environment and flags. Each value keeps the place it came from. */
import type { TSchema } from 'typebox'
import { type Document, isCollection, isMap, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml'
import { isFileName, shownFlag, shownVariable, snake } from './harmless.ts'
import { nearest } from './nearest.ts'
import { explainYaml, LOOPING_ALIASES, NAME_IN_BRACKETS, UNKNOWN_ALIAS } from './yaml-problems.ts'

/** `where` is `file:line:col`, an environment variable or a flag; `path` is dotted. */
export interface ConfigProblem {
  where: string
  path: string
  message: string
  /** What would be right. */
  hint?: string | undefined
  /** The rule that found it, for programs. Default: `setting`. */
  rule?: string | undefined
}

/** `--set server.port` names the setting already. */
const whatAndWhere = ({ where, path, message }: ConfigProblem): string => {
  const isNamed = where.startsWith('--set ') && path.startsWith(where.slice('--set '.length))
  return (isNamed ? [`--set ${path}`, message] : [where, path, message]).filter(Boolean).join(': ')
}

/** In one line, for logs and programs. */
export const formatProblem = (problem: ConfigProblem): string => [whatAndWhere(problem), problem.hint].filter(Boolean).join('; ')

/** For a terminal: a line with what is wrong and where, and below it a line with what would be right. */
export const problemLines = (problem: ConfigProblem): string => [whatAndWhere(problem), problem.hint].filter(Boolean).join('\n  ')

export type Path = readonly (string | number)[]
const dotted = (path: Path): string =>
  path
    .map((p) => (typeof p === 'number' ? `[${p}]` : `.${p}`))
    .join('')
    .replace(/^\./, '')

export interface ConfigSource {
  value: Record<string, unknown>
  problems: ConfigProblem[]
  /** The place of a value; for an unknown key, the place of the key. */
  locate(path: Path): string
}

/** @param topHint what would be right at the top of the file */
export function readYaml(file: string, text: string, topHint = 'write sections such as server: and routes: at the top'): ConfigSource {
  const lines = new LineCounter()
  // at the default level, the parser writes names that are lists or mappings to standard error
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: false, logLevel: 'error' })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const problems = [...doc.errors, ...doc.warnings].map((e): ConfigProblem => ({ where: at(e.pos[0]), path: '', ...explainYaml(e) }))
  visit(doc, {
    Alias(_, node) {
      if (!node.resolve(doc)) problems.push({ where: at(node.range![0]), path: '', ...UNKNOWN_ALIAS })
    },
    Pair(_, { key }) {
      if (isCollection(key)) problems.push({ where: at(key.range![0]), path: '', ...NAME_IN_BRACKETS })
    },
  })
  const root = problems.length ? {} : plain(doc)
  if (root === null) problems.push({ where: `${file}:1:1`, path: '', ...LOOPING_ALIASES })
  const isObject = typeof root === 'object' && root !== null && !Array.isArray(root)
  if (!isObject && root !== null)
    problems.push({
      where: `${file}:1:1`,
      path: '',
      message: 'is not a mapping',
      hint: topHint,
    })

  function locate(path: Path): string {
    let node: unknown = doc.contents
    let offset = 0
    for (const step of path) {
      if (isMap(node)) {
        const pair = node.items.find((p) => isScalar(p.key) && String(p.key.value) === String(step))
        if (!pair) break
        offset = (pair.key as Node).range?.[0] ?? offset
        node = pair.value
      } else {
        const next: unknown = (doc.contents && typeof step === 'number' && (node as { items?: unknown[] })?.items?.[step]) || null
        if (!next) break
        offset = (next as Node).range?.[0] ?? offset
        node = next
      }
    }
    return at(offset)
  }
  return { value: isObject ? (root as Record<string, unknown>) : {}, problems, locate }
}

/** Plain JSON values. Null for a file whose aliases contain themselves, or expand to millions of values. */
function plain(doc: Document): unknown {
  try {
    return JSON.parse(JSON.stringify(doc.toJS() ?? {}))
  } catch {
    return null
  }
}

/** Sets a value by path, and creates the sections on the way. */
function assign(target: Record<string, unknown>, path: string[], value: unknown): void {
  let at = target
  for (const step of path.slice(0, -1)) {
    const next = at[step]
    at = at[step] = typeof next === 'object' && next !== null && !Array.isArray(next) ? (next as Record<string, unknown>) : {}
  }
  at[path.at(-1)!] = value
}

type JsonSchema = TSchema & {
  type?: string
  properties?: Record<string, JsonSchema>
  patternProperties?: Record<string, JsonSchema>
  anyOf?: JsonSchema[]
}

/** The paths of all settings with fixed names. */
const leaves = ({ properties }: JsonSchema, path: string[] = []): string[][] =>
  Object.entries(properties ?? {}).flatMap(([key, schema]) => (schema.properties ? leaves(schema, [...path, key]) : [[...path, key]]))

const camel = (word: string) => word.toLowerCase().replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase())

/** Converts text from an environment variable or a flag to the type of the schema. Other text stays text, and validation reports it. */
function fromText(text: string, schema: JsonSchema): unknown {
  if (schema.anyOf) {
    const number = schema.anyOf.some((s) => s.type === 'integer' || s.type === 'number')
    return number && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
  }
  if (schema.type === 'array')
    return text
      .split(',')
      .map((s) => s.trim())
      .filter(Boolean)
  if ((schema.type === 'integer' || schema.type === 'number') && /^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  if (schema.type === 'boolean' && /^(true|false)$/.test(text)) return text === 'true'
  return text
}

/** Walks the schema by names; `nameOf` gives the name of a key in this source. Null: no such setting. */
function resolve(
  schema: JsonSchema,
  steps: string[],
  nameOf: (key: string) => string,
  free: (step: string) => string,
): { path: string[]; schema: JsonSchema } | null {
  const path: string[] = []
  let at = schema
  for (const step of steps) {
    const known = Object.keys(at.properties ?? {}).find((key) => nameOf(key) === step)
    const next = known ? at.properties![known] : Object.values(at.patternProperties ?? {})[0]
    if (!next) return null
    path.push(known ?? free(step))
    at = next
  }
  return at.properties || at.patternProperties ? null : { path, schema: at }
}

const FIXED: Record<string, string> = {
  DATABASE_URL: 'PORTCULLIS_DATABASE__URL',
  REDIS_URL: 'PORTCULLIS_REDIS__URL',
  PORT: 'PORTCULLIS_SERVER__PORT',
}
const SECRET_VARIABLES = ['PORTCULLIS_SECRET_KEY', 'PORTCULLIS_SECRET_KEY_PREVIOUS', 'PORTCULLIS_ADMIN_EMAIL', 'PORTCULLIS_ADMIN_PASSWORD']

/** Variables that Kubernetes sets in every pod of a namespace with a Service named portcullis. */
const OF_KUBERNETES = /^PORTCULLIS_(SERVICE_(HOST|PORT.*)|PORT|PORT_\d+_.*)$/

/** Reads all variables of the gateway, and the files of `…_FILE` variables: name → value. */
export function readEnvironment(
  env: NodeJS.ProcessEnv,
  readFile: (path: string) => string,
): { values: Map<string, string>; problems: ConfigProblem[] } {
  const values = new Map<string, string>()
  const problems: ConfigProblem[] = []
  for (const [key, value] of Object.entries(env)) {
    const bare = key.replace(/_FILE$/, '')
    const ours = key.startsWith('PORTCULLIS_') || bare in FIXED
    if (!ours || OF_KUBERNETES.test(key) || value === undefined || value === '') continue
    if (bare === key) {
      values.set(key, value)
      continue
    }
    try {
      values.set(bare, readFile(value).trim())
    } catch (error) {
      problems.push({
        where: `${shownVariable(bare)}_FILE`,
        path: '',
        // the secret itself may be in place of the file's name
        message: `cannot read ${isFileName(value) ? value : 'this file'}: ${(error as NodeJS.ErrnoException).code ?? 'error'}`,
        hint: 'name a file that this user can read',
      })
    }
  }
  return { values, problems }
}

/** Overrides a source with environment and flags (`a.b=value`), and records where each value came from. */
export function overlay(source: ConfigSource, schema: TSchema, env: ReadonlyMap<string, string>, flags: readonly string[]): ConfigSource {
  const value = structuredClone(source.value)
  const problems = [...source.problems]
  const origin = new Map<string, string>()
  const settings = leaves(schema as JsonSchema)
  const set = (where: string, name: string, known: string[], text: string, found: ReturnType<typeof resolve>) => {
    if (!found) {
      const near = nearest(name, known)
      return problems.push({
        where,
        path: '',
        message: 'no such setting',
        hint: near ? `did you mean ${near}?` : 'docs/configuration.md lists all settings',
      })
    }
    assign(value, found.path, fromText(text, found.schema))
    origin.set(dotted(found.path), where)
  }
  // DATABASE_URL and its like first, so that PORTCULLIS_DATABASE__URL wins over them
  for (const [name, text] of [...env].sort(([a], [b]) => Number(b in FIXED) - Number(a in FIXED))) {
    if (SECRET_VARIABLES.includes(name)) continue
    const steps = (FIXED[name] ?? name).slice('PORTCULLIS_'.length).split('__')
    const known = [...settings.map((path) => `PORTCULLIS_${path.map(snake).join('__')}`), ...SECRET_VARIABLES]
    set(shownVariable(name), name, known, text, resolve(schema as JsonSchema, steps, snake, camel))
  }
  for (const flag of flags) {
    const cut = flag.indexOf('=')
    const name = cut < 0 ? flag : flag.slice(0, cut)
    if (cut < 0)
      problems.push({ where: `--set ${shownFlag(flag)}`, path: '', message: 'has no value', hint: 'write it as --set section.key=value' })
    else {
      const same = (key: string) => key
      const found = resolve(schema as JsonSchema, name.split('.'), same, same)
      set(
        `--set ${shownFlag(name)}`,
        name,
        settings.map((path) => path.join('.')),
        flag.slice(cut + 1),
        found,
      )
    }
  }
  /** The origin of a list also applies to a wrong value inside the list. */
  const overlaid = (path: Path) => path.map((_, i) => origin.get(dotted(path.slice(0, i + 1)))).find(Boolean)
  return { value, problems, locate: (path) => overlaid(path) ?? source.locate(path) }
}
