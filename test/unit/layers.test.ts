/** DESIGN §2: the arrows between the parts, held by reading the imports. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = join(dirname(fileURLToPath(import.meta.url)), '../../src')
interface Import {
  from: string
  to: string
  isType: boolean
}
const imports: Import[] = []
for await (const from of glob('**/*.ts', { cwd: root })) {
  for (const [, type, name] of readFileSync(join(root, from), 'utf8').matchAll(
    /^(?:import|export)\s+(type\s+)?(?:[^'"]*?\sfrom\s+)?'([^']+)'/gm,
  ))
    imports.push({ from, to: name!.startsWith('.') ? relative(root, join(root, dirname(from), name!)) : name!, isType: type !== undefined })
}
/** Imports that start here and end there, but for those that are allowed. */
const arrows = (from: RegExp, to: RegExp, allowed = /^$/) =>
  imports.filter((i) => from.test(i.from) && to.test(i.to) && !allowed.test(i.from)).map((i) => `${i.from} → ${i.to}`)

it('reads the imports', () => {
  expect(imports.length).toBeGreaterThan(200)
  expect(arrows(/^gateway\/pipeline\.ts$/, /^gateway\/routes\.ts$/)).toHaveLength(1)
})

it.each<[string, RegExp, RegExp, RegExp?]>([
  ['fastify stays at the edge', /./, /^(fastify$|@fastify\/)/, /^(app\.ts|http\/.*|gateway\/.*|.*\.routes\.ts)$/],
  ['kysely stays in db and the repos', /./, /^kysely/, /^(db\/.*|.*\.repo\.ts)$/],
  ['ioredis stays in one file', /./, /^ioredis/, /^redis\.ts$/],
  ['the gateway knows no accounts', /^gateway\//, /^accounts\//],
  ['http knows no accounts', /^http\//, /^accounts\//],
  ['stores, tokens and limits know no gateway', /^(db|tokens|limits|sessions|audit|jobs)\//, /^gateway\//],
  [
    'the configuration knows next to nothing',
    /^config\//,
    /^(?!config\/|gateway\/(routes|claims|canonical)\.ts$|users\/roles\.ts$|http\/networks\.ts$|errors\.ts$).*\.ts$/,
  ],
  ['services know no endpoints', /^(?!(app|endpoints)\.ts)/, /\.routes\.ts$/, /\.routes\.ts$/],
  [
    'only what runs the app imports it',
    /./,
    /^(app|core|endpoints|main|cli|running)\.ts$/,
    /^(app|endpoints|cli|main|running|demo\/.*|workers\/.*)(\.ts)?$/,
  ],
])('%s', (_name, from, to, allowed) => {
  expect(arrows(from, to, allowed)).toEqual([])
})

it('no file imports itself through others at run time', () => {
  const next = Map.groupBy(
    imports.filter((i) => !i.isType && i.to.endsWith('.ts')),
    (i) => i.from,
  )
  const cycles: string[] = []
  const walk = (file: string, path: string[]) => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    else for (const { to } of next.get(file) ?? []) walk(to, [...path, file])
  }
  for (const file of next.keys()) if (!cycles.length) walk(file, [])
  expect(cycles).toEqual([])
})
