/** Files of policy tests: cases of a request and a caller, with the decision that is expected. */
import { isIP } from 'node:net'
import { type Static, Type } from 'typebox'
import { shownPath } from '../../platform/config/harmless.ts'
import { nearest } from '../../platform/config/nearest.ts'
import type { Config } from '../../platform/config/schema.ts'
import { type ConfigProblem, type ConfigSource, type Path, readYaml } from '../../platform/config/source.ts'
import { createValidate } from '../../platform/config/validate.ts'
import { errorCatalogue } from '../../platform/lib/errors.ts'
import { isProxied } from '../routing/proxied-methods.ts'
import { roleFault } from './callers.ts'

const strict = <P extends Parameters<typeof Type.Object>[0]>(properties: P, options: object = {}) =>
  Type.Object(properties, { additionalProperties: false, ...options })

const Principal = strict({
  role: Type.Optional(Type.String({ minLength: 1 })),
  roles: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })),
  user: Type.Optional(Type.String({ minLength: 1 })),
  secondFactor: Type.Optional(Type.Boolean()),
  authAgeSeconds: Type.Optional(Type.Integer({ minimum: 0 })),
})

const Expectation = strict({
  decision: Type.Union([Type.String(), Type.Integer()], {
    description: 'allow, refuse, answer, own, an error code such as token_missing, or a status such as 401',
  }),
  route: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'the name of a route, or null for none' })),
  upstream: Type.Optional(Type.String()),
  upstreamPath: Type.Optional(Type.String()),
  limits: Type.Optional(Type.Array(Type.String())),
})

const Case = strict({
  name: Type.Optional(Type.String({ minLength: 1 })),
  method: Type.Optional(Type.String({ default: 'GET' })),
  url: Type.String({ minLength: 1 }),
  principal: Type.Optional(
    Type.Union([Type.Unsafe<'anonymous'>({ type: 'string', enum: ['anonymous'] }), Principal], {
      description: 'write anonymous, { role: admin }, { roles: [support, billing] } or { user: ann }',
    }),
  ),
  from: Type.Optional(Type.String()),
  websocket: Type.Optional(Type.Boolean()),
  expect: Expectation,
})

const PolicyFile = strict({ cases: Type.Array(Case, { minItems: 1 }) })

export type PolicyExpectation = Static<typeof Expectation>
export type PolicyCase = Static<typeof Case>
export type PolicyPrincipal = Static<typeof Principal>

export interface LocatedCase extends PolicyCase {
  /** The name, or the request when it has none. */
  title: string
  /** `file:line:column` */
  where: string
}

const validate = createValidate(PolicyFile)
const CODES: ReadonlySet<string> = new Set(errorCatalogue().map(({ code }) => code))
const DECISION_WORDS = ['allow', 'refuse', 'answer', 'own'] as const

/** Every problem at once, in the form of those of a configuration. */
export function readPolicyCases(file: string, text: string, config: Config): { cases: LocatedCase[]; problems: ConfigProblem[] } {
  const source = readYaml(file, text, 'write cases: at the top, and a list of cases below it')
  if (source.problems.length > 0) return { cases: [], problems: source.problems }
  const invalid = validate(source.value, source)
  if (invalid.length > 0) return { cases: [], problems: invalid.map(({ problem }) => problem) }
  const { cases } = source.value as Static<typeof PolicyFile>
  const located = cases.map((one, i) => ({
    ...one,
    title: one.name ?? `${one.method ?? 'GET'} ${one.url}`,
    where: source.locate(['cases', i]),
  }))
  return { cases: located, problems: cases.flatMap((one, i) => problemsOf(one, i, config, source)) }
}

function problemsOf({ method, principal, from, expect }: PolicyCase, i: number, config: Config, source: ConfigSource): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const complain = (path: Path, message: string, hint?: string) => {
    const at = ['cases', i, ...path]
    problems.push({
      where: source.locate(at),
      path: shownPath(at),
      message,
      hint,
    })
  }
  if (method !== undefined && !isProxied(method)) complain(['method'], 'is no method', 'write it in capitals, such as GET')
  if (from !== undefined && isIP(from) === 0) complain(['from'], 'must be an IP address', 'such as 203.0.113.7')
  if (typeof principal === 'object') {
    const { role, roles = [], user } = principal
    const named = [role, roles.length > 0 ? roles : undefined, user].filter((who) => who !== undefined)
    if (named.length !== 1) complain(['principal'], 'must name one caller', 'write one of role, roles and user')
    for (const name of [...(role === undefined ? [] : [role]), ...roles]) {
      const fault = roleFault(config, name)
      if (fault !== null) complain(['principal', role === undefined ? 'roles' : 'role'], `there is no role ${name}`, fault)
    }
  }
  const { decision, route, limits = [] } = expect
  if (!isDecision(decision)) {
    const near = nearest(String(decision), [...DECISION_WORDS, ...CODES])
    const known = `write ${DECISION_WORDS.join(', ')}, an error code such as token_missing, or a status such as 401`
    complain(['expect', 'decision'], `${decision} is no decision`, near ? `did you mean ${near}?` : known)
  }
  const routes = config.routes.map(({ name }) => name)
  if (typeof route === 'string' && !routes.includes(route)) {
    const near = nearest(route, routes)
    complain(['expect', 'route'], `there is no route ${route}`, near ? `did you mean ${near}?` : `the routes are ${routes.join(', ')}`)
  }
  for (const name of limits) {
    const known = Object.keys(config.limits.policies)
    const near = nearest(name, known)
    if (!known.includes(name))
      complain(['expect', 'limits'], `there is no policy ${name}`, near ? `did you mean ${near}?` : `the policies are ${known.join(', ')}`)
  }
  return problems
}

const isDecision = (decision: string | number): boolean =>
  typeof decision === 'number'
    ? decision >= 200 && decision <= 599
    : (DECISION_WORDS as readonly string[]).includes(decision) || CODES.has(decision)
