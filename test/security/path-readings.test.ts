/**
 * The strict reader against servers that read a path in ways of their own, on route tables of every shape: what goes through on a route is for
 * each of them a path of that route, and upstream never one that a stricter route guards.
 */
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Config } from '../../src/platform/config/schema.ts'
import { checkConfig } from '../../src/proxy/routing/check-config.ts'
import { matchTarget, readTarget, type Target } from '../../src/proxy/routing/request-target.ts'
import { compileRoutes, type Route, type RouteNode, type RouteTable, rewritePath, routesFor } from '../../src/proxy/routing/route-table.ts'
import { configWith, route } from '../support/config.ts'

/** `PATH_RUNS=50 vitest run …` looks fifty times as far. */
const RUNS = Number(process.env.PATH_RUNS ?? 1)

// what servers do to a path, one thing at a time

type Step = (path: string) => string
const byte = (hex: string) => String.fromCharCode(Number.parseInt(hex, 16))
/** Of the bytes that are no UTF-8, each is a character of its own (�) or of Latin-1. */
const decodeAs =
  (charset: 'utf8' | 'latin1'): Step =>
  (p) =>
    p.replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString(charset))
const decode = decodeAs('utf8')
const decodeLatin1 = decodeAs('latin1')
const decodeIis: Step = (p) => decode(p.replace(/%u([0-9a-f]{4})/gi, (_, hex) => byte(hex)))
const dropParameters: Step = (p) => p.replace(/;[^/]*/g, '')
const cutAtSemicolon: Step = (p) => p.split(';')[0]!
const cutQuery: Step = (p) => p.replace(/[?#].*$/s, '')
const turnBackslashes: Step = (p) => p.replaceAll('\\', '/')
const mergeSlashes: Step = (p) => p.replace(/\/{2,}/g, '/')
const trimBlanks: Step = (p) => p.replace(/\s+$/, '')
const trimNames: Step = (p) => p.replace(/[. ]+(?=\/|$)/g, '')
const trimWords: Step = (p) =>
  p
    .split('/')
    .map((s) => s.trimEnd())
    .join('/')
const cutAtNul: Step = (p) => p.split('\0')[0]!
/** The URL standard drops tabs and line ends wherever they are. */
const dropControls: Step = (p) => p.replace(/[\0-\x1f\x7f]/g, '')
const dropAuthority: Step = (p) => p.replace(/^\/\/[^/]*/, '')
const upper: Step = (p) => p.toUpperCase()
const bestFit: Step = (p) => p.normalize('NFKC').replace(/[∕⁄]/g, '/')
const dotlessI: Step = (p) => p.replaceAll('İ', 'i')
const resolve: Step = (p) => {
  const out: string[] = []
  for (const part of p.split('/').slice(1)) {
    if (part === '..') out.pop()
    else if (part !== '.') out.push(part)
  }
  return `/${out.join('/')}`
}
const parseUrl =
  (text: (path: string) => string): Step =>
  (p) => {
    try {
      return new URL(text(p), 'http://upstream.test').pathname
    } catch {
      return p
    }
  }
const parseReference = parseUrl((p) => p)
const parseAbsolute = parseUrl((p) => `http://upstream.test${p}`)

const DECODERS = [decode, decodeLatin1, decodeIis]
const STEPS = [
  ...DECODERS,
  dropParameters,
  cutAtSemicolon,
  cutQuery,
  turnBackslashes,
  mergeSlashes,
  trimBlanks,
  trimNames,
  trimWords,
  cutAtNul,
  dropControls,
  dropAuthority,
  upper,
  bestFit,
  dotlessI,
  resolve,
  parseReference,
  parseAbsolute,
]

const inOrder =
  (...steps: Step[]): Step =>
  (path) =>
    steps.reduce((p, step) => step(p), path)

/** As these servers, or some version or module of them, do it. */
const SERVERS: Record<string, Step> = {
  'nginx: decode, merge, resolve': inOrder(decode, cutQuery, mergeSlashes, resolve),
  'Apache: resolve, decode, resolve': inOrder(resolve, decode, resolve, mergeSlashes),
  'Tomcat: drop parameters, decode, resolve': inOrder(dropParameters, decode, mergeSlashes, resolve),
  'Jetty: decode, drop parameters, resolve': inOrder(decode, dropParameters, mergeSlashes, resolve),
  'Spring: drop parameters twice, decode': inOrder(dropParameters, mergeSlashes, decode, dropParameters, mergeSlashes),
  'IIS: %u, backslashes, names without dots and blanks at their end': inOrder(
    decodeIis,
    turnBackslashes,
    mergeSlashes,
    trimNames,
    resolve,
    upper,
  ),
  'IIS, behind a proxy that decodes': inOrder(decode, decodeIis, turnBackslashes, mergeSlashes, trimNames, resolve, upper),
  'PHP: decode, and decode again': inOrder(decode, decode, resolve, mergeSlashes),
  'WSGI: Latin-1 decoded, and once more by the application': inOrder(decodeLatin1, mergeSlashes, decodeLatin1, resolve),
  'Flask: trims': inOrder(decode, trimBlanks, mergeSlashes),
  'Go, cleanPath': inOrder(decode, mergeSlashes, resolve),
  'Rails: squeeze, then decode': inOrder(mergeSlashes, (p) => p.replace(/(.)\/$/, '$1'), decode),
  'Node: new URL(url, base)': inOrder(parseReference, decode),
  'Node: decode, then new URL': inOrder(decode, parseReference, mergeSlashes),
  'Node: new URL(base + url)': inOrder(parseAbsolute, decode, mergeSlashes),
  'Java, equalsIgnoreCase': inOrder(dropParameters, decode, mergeSlashes, upper),
  'Python, re.IGNORECASE': inOrder(decode, dotlessI, upper),
  'a best-fit character set': inOrder(decode, bestFit, turnBackslashes, mergeSlashes, resolve),
}

// paths: a few names, spelled and joined in every way

const NAMES = ['admin', 'api', 'Orders', 'sick', 'x']
const oneOf = <T>(...values: T[]) => fc.constantFrom(...values)

/** `a` → `%61`, `%2561`, `%252561` */
const escaped = (c: string, times: number) => `%${'25'.repeat(times)}${c.charCodeAt(0).toString(16)}`
const LOOKALIKES: [string, string][] = [
  ['s', '%C5%BF'],
  ['i', '%C4%B1'],
  ['i', '%C4%B0'],
  ['k', '%E2%84%AA'],
  ['a', '%EF%BD%81'],
]
const ENDS = [
  '.',
  '..',
  '%20',
  '%2e',
  '%2520',
  '%C2%A0',
  '%A0',
  '%25A0',
  '%2500x',
  '%E3%80%80',
  '%00',
  '%09',
  '%3f',
  '%23x',
  '%3Fx',
  '%u0020',
  '%25u002e',
  '.%20',
  '+',
]
const PARAMETERS = [';', ';v=1', ';a%2fb', ';a%252fb', ';%2f', '%3b', '%3Bx', '%253bx', ';.', ';..']
const spelled = fc.oneof(
  { weight: 5, arbitrary: fc.constant((name: string) => name) },
  {
    weight: 1,
    arbitrary: oneOf<Step>(
      (n) => n.toUpperCase(),
      (n) => n.toLowerCase(),
      (n) => n.slice(0, 1).toUpperCase() + n.slice(1),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.nat(5), fc.nat(2)).map(
      ([i, times]): Step =>
        (n) =>
          n && n.slice(0, i % n.length) + escaped(n[i % n.length]!, times) + n.slice((i % n.length) + 1),
    ),
  },
  {
    weight: 1,
    arbitrary: oneOf(...LOOKALIKES).map(
      ([c, like]): Step =>
        (n) =>
          n.replace(c, like),
    ),
  },
  {
    weight: 2,
    arbitrary: oneOf(...ENDS, ...PARAMETERS).map(
      (end): Step =>
        (n) =>
          n + end,
    ),
  },
  {
    weight: 1,
    arbitrary: oneOf(';', '%20', '.', '%2f', '%C0%AE').map(
      (start): Step =>
        (n) =>
          start + n,
    ),
  },
)
const segment = fc
  .tuple(oneOf(...NAMES, '', '.', '..', 'caf%C3%A9', '@scope'), fc.array(spelled, { maxLength: 2 }))
  .map(([name, how]) => inOrder(...how)(name))
const AFTER_SLASH = [
  '',
  '/',
  ';x/',
  ';a%2fb/',
  '%20/',
  './',
  '%2e/',
  '../',
  'x/../',
  '..;/',
  '..%20/',
  '.%2e/',
  '/host/',
  '%2f',
  '%3b/',
  '%25u002e/',
]
const NO_SLASH = ['%2f', '%2F', '%252f', '%25252f', '\\', '%5c', '%255c', '%EF%BC%8F', '%E2%88%95', '%c0%af', '%25u2215', '%252F%252f']
const slash = oneOf(...AFTER_SLASH).map((more) => `/${more}`)
const joint = fc.oneof(
  { weight: 6, arbitrary: fc.constant('/') },
  { weight: 2, arbitrary: slash },
  { weight: 2, arbitrary: oneOf(...NO_SLASH) },
)
const anyPath = fc
  .tuple(fc.oneof({ weight: 3, arbitrary: fc.constant('/') }, slash), fc.array(fc.tuple(segment, joint), { maxLength: 4 }), segment)
  .map(([first, inner, last]) => first + inner.flat().join('') + last)

/** Up to six steps, two of them decodings: what stands one behind the other in front of an application. */
const composed = fc
  .array(oneOf(...STEPS), { minLength: 1, maxLength: 6 })
  .filter((steps) => steps.filter((s) => DECODERS.includes(s)).length <= 2)
  .map((steps) => inOrder(...steps))

// tables of every shape

type RouteConfig = Config['routes'][number]
const TEMPLATE = configWith({ routes: [route('/')] })
const ALL_FORMS: RouteConfig['allow'] = ['encodedSlash', 'doubleSlash', 'semicolon', 'percent']
const HOSTS = ['one.test', 'two.test']
const prefix = fc.array(oneOf(...NAMES), { maxLength: 3 }).map((names) => `/${names.join('/')}`)
interface Part {
  path: string
  access: RouteConfig['access']
  upstream: string
  allow: RouteConfig['allow']
  host?: string
  methods?: string[]
  caseSensitive?: boolean
  rewrite?: string
}
const anyRoute: fc.Arbitrary<Part> = fc.record(
  {
    path: prefix,
    access: oneOf<Part['access']>('public', 'authenticated', { roles: ['admin'] }),
    upstream: oneOf('http://a.test', 'http://b.test'),
    allow: fc.subarray(ALL_FORMS),
    host: oneOf(...HOSTS),
    methods: fc.uniqueArray(oneOf('GET', 'POST'), { minLength: 1 }),
    caseSensitive: fc.boolean(),
    rewrite: prefix,
  },
  { requiredKeys: ['path', 'access', 'upstream', 'allow'] },
)

/** Null for what the configuration's own check refuses to start with. */
function tableOf(parts: Part[]): RouteTable | null {
  const routes = parts.map(
    ({ path, access, upstream, allow, host, methods, caseSensitive = false, rewrite }, i): RouteConfig => ({
      ...TEMPLATE.routes[0]!,
      name: `r${i}`,
      match: { path, caseSensitive, ...(host ? { host } : {}), ...(methods ? { methods } : {}) },
      access,
      upstream: [upstream],
      allow,
      ...(rewrite ? { rewrite: { prefix: rewrite } } : {}),
    }),
  )
  const config = { ...TEMPLATE, routes }
  return checkConfig(config).problems.length ? null : compileRoutes(config)
}
const anyTable = fc
  .array(anyRoute, { minLength: 1, maxLength: 5 })
  .map(tableOf)
  .filter((table) => table !== null)

/** A public route that hides its prefix, before what the same upstream guards; a stricter one stands where the two meet. */
const guardedTable = fc
  .record({ path: prefix, guarded: prefix, upstream: fc.constant('http://a.test'), allow: fc.constant(ALL_FORMS) })
  .filter(({ path, guarded }) => path !== '/' && guarded !== '/')
  .map(({ path, guarded, ...same }) =>
    tableOf([
      { ...same, path, rewrite: '/', access: 'public' },
      { ...same, path: path + guarded, rewrite: guarded, access: 'authenticated' },
      { ...same, path: guarded, access: 'authenticated' },
    ]),
  )
  .filter((table) => table !== null)

/** What the gateway makes of a path, if it lets it through. */
function accepted(table: RouteTable, host: string, path: string): { node: RouteNode | null; target: Target } | null {
  const target = readTarget(path)
  if (typeof target === 'string') return null
  const node = matchTarget(table, host, target)
  return typeof node === 'string' ? null : { node, target }
}

const nameOf = (node: RouteNode | null) => (node ? node.folded || '/' : 'none')

const FIXED = compileRoutes(
  configWith({
    routes: ['/', '/admin', '/api', '/api/Orders', '/api/admin', '/api/orders/sick', '/sick/x'].map((path) =>
      route(path, { allow: ALL_FORMS }),
    ),
  }),
)

const readings = fc.array(fc.tuple(anyPath, composed), { minLength: 10, maxLength: 10 })
/** The path as it is, and below each of the table's routes. */
const placed = (table: RouteTable, path: string) => [path, ...table.routes.map((r) => (r.path === '/' ? path : r.path + path))]

describe('a path that goes through', () => {
  it.each(Object.keys(SERVERS))('leads to the same route at %s', (name) => {
    fc.assert(
      fc.property(anyPath, (path) => {
        const ours = accepted(FIXED, '', path)
        if (!ours) return
        const read = SERVERS[name]!(path)
        expect(nameOf(FIXED.find('', read.toLowerCase())), `${path} is ${read} there`).toBe(nameOf(ours.node))
      }),
      { numRuns: 2000 * RUNS },
    )
  })

  it('leads to the same route whatever is done to it on its way, on any table', () => {
    fc.assert(
      fc.property(anyTable, oneOf(...HOSTS, 'other.test'), readings, (table, host, all) => {
        for (const [path, read] of all.flatMap(([p, r]) => placed(table, p).map((below) => [below, r] as const))) {
          const ours = accepted(table, host, path)
          if (ours) expect(nameOf(table.find(host, read(path).toLowerCase())), `${path} is ${read(path)} there`).toBe(nameOf(ours.node))
        }
      }),
      { numRuns: 400 * RUNS },
    )
  })

  it('is upstream, rewritten and whatever is done to it there, no path that a stricter route guards', () => {
    fc.assert(
      fc.property(fc.oneof(anyTable, guardedTable), oneOf(...HOSTS, 'other.test'), readings, (table, host, all) => {
        for (const [path, read] of all.flatMap(([p, r]) => placed(table, p).map((below) => [below, r] as const))) {
          const ours = accepted(table, host, path)
          const lax = ours?.node ? routesFor(ours.node, path).filter((r) => (ours.target.forms & ~r.allowedForms) === 0) : []
          for (const r of lax) {
            const there = read(rewritePath(r, path))
            const reached = table.routes.find((strict) => isStricter(strict, r) && guards(table, strict, there))
            expect(reached?.path, `${path} on ${r.path} is ${there} upstream`).toBeUndefined()
          }
        }
      }),
      { numRuns: 400 * RUNS },
    )
  })
})

const isStricter = (strict: Route, lax: Route) =>
  strict.access.rank > lax.access.rank &&
  strict.servers.some(({ origin }) => lax.servers.some((s) => s.origin === origin)) &&
  (strict.methods === null || lax.methods === null || [...strict.methods].some((m) => lax.methods!.has(m)))

/** The upstream's path may be reached by this route. */
function guards(table: RouteTable, strict: Route, there: string): boolean {
  const guarded = rewritePath(strict, strict.path).replace(/\/$/, '').toLowerCase()
  const folded = there.toLowerCase()
  if (folded !== guarded && !folded.startsWith(`${guarded}/`)) return false
  const byStrict = `${strict.path === '/' ? '' : strict.path}${folded.slice(guarded.length)}` || '/'
  return table.find(strict.host ?? '', byStrict.toLowerCase())?.routes.includes(strict) ?? false
}

describe("Fastify's own router", () => {
  const require = createRequire(createRequire(import.meta.url).resolve('fastify'))
  const findMyWay = require('find-my-way') as (options: object) => {
    on(method: string, path: string, handler: () => void, store: RouteNode): void
    find(method: string, path: string): { store: RouteNode } | null
  }

  it.each([
    {},
    { ignoreTrailingSlash: true },
    { ignoreDuplicateSlashes: true },
    { useSemicolonDelimiter: true },
    { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, useSemicolonDelimiter: true },
  ])('with %j finds the same route for what goes through', (options) => {
    fc.assert(
      fc.property(anyTable, fc.array(anyPath, { minLength: 20, maxLength: 20 }), (table, paths) => {
        const router = findMyWay({ caseSensitive: false, ...options })
        const nodes = new Set(table.routes.filter((r) => r.host === null).map((r) => table.find('', r.path.toLowerCase())!))
        for (const node of [...nodes, table.find('', '/auth')!, table.find('', '/health')!]) {
          router.on('GET', node.folded || '/', () => {}, node)
          if (!node.exact) router.on('GET', `${node.folded}/*`, () => {}, node)
        }
        for (const path of paths) {
          const ours = accepted(table, '', path)
          if (ours) expect(nameOf(router.find('GET', path)?.store ?? null), path).toBe(nameOf(ours.node))
        }
      }),
      { numRuns: 60 * RUNS },
    )
  })
})
