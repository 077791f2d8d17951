/** The layers of docs/architecture.md: imports go only downward, between the five layers and between their folders. */
import { expect, it } from 'vitest'
import { circlesOf, folderGraph, readImports, readSources, STOREYS, storeyOf } from '../../support/imports.ts'

const imports = await readImports()
const show = ({ from, to }: { from: string; to: string }) => `${from} → ${to}`

it('reads the imports', () => {
  expect(imports.length).toBeGreaterThan(1000)
  expect(imports.map(show)).toContain('src/proxy/pipeline.ts → src/proxy/routing/match-route.ts')
})

it('every file belongs to a layer', () => {
  const files = new Set(imports.map(({ from }) => from))
  expect([...files].filter((file) => storeyOf(file) === null)).toEqual([])
})

it('no file imports from a higher layer', () => {
  const rank = (file: string) => STOREYS.indexOf(storeyOf(file)!)
  expect(imports.filter(({ from, to }) => storeyOf(to) && rank(to) < rank(from)).map(show)).toEqual([])
})

it('no folder imports itself through others', () => {
  expect(circlesOf(folderGraph(imports))).toEqual([])
})

it('no file imports itself through others, not even for a type', () => {
  const next = Map.groupBy(
    imports.filter(({ to }) => to.endsWith('.ts')),
    ({ from }) => from,
  )
  expect(circlesOf(new Map([...next].map(([from, all]) => [from, new Set(all.map(({ to }) => to))])))).toEqual([])
})

it.each<[string, RegExp, RegExp]>([
  [
    'fastify stays at the edge',
    /^(fastify$|@fastify\/)/,
    /^src\/(app\/|platform\/http\/|identity\/access\/require-auth|identity\/pages\/page-kit|proxy\/(pipeline|stages|cors|forward\/websocket)\.ts|.*\.(routes|pages)\.ts)/,
  ],
  ['kysely stays in the database folder and the repos', /^kysely/, /^(src\/platform\/db\/|migrations\/|.*\.repo\.ts$)/],
  ['ioredis stays in one folder', /^ioredis/, /^src\/platform\/redis\//],
  ['only routes and what mounts them know routes', /\.routes\.ts$/, /^(src\/app\/|.*\.routes\.ts$)/],
])('%s', (_name, what, where) => {
  const found = imports.filter(({ to }) => what.test(to))
  expect(found.length).toBeGreaterThan(0)
  expect(found.filter(({ from }) => !where.test(from)).map(show)).toEqual([])
})

/** Both hold the same rule: a revocation is announced after the commit and before the answer. */
it.each<[string, RegExp, string[]]>([
  ['only the account transaction announces a revocation', /\bannounce\b/, ['sessions/account-transaction.ts', 'sessions/revocations.ts']],
  [
    'only the account transaction writes a revocation',
    /insertRevocation|insertInto\('revocations'\)/,
    ['sessions/account-transaction.ts', 'sessions/revocations.repo.ts'],
  ],
  [
    'only the account transaction makes the transaction that may write a revocation',
    /\bOPENED_HERE\b/,
    ['sessions/account-transaction.ts', 'sessions/revocations.repo.ts'],
  ],
])('%s', async (_name, what, where) => {
  const found = [...(await readSources())].filter(([, text]) => what.test(text)).map(([file]) => file)
  expect(found.sort()).toEqual(where.map((file) => `src/identity/${file}`))
})
