/** Reads the imports of the product as text, for the tests of its structure and for the picture in docs/architecture.md. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** From the top. A storey may import from itself and from the storeys after it. */
export const STOREYS = ['cli', 'app', 'proxy', 'identity', 'platform'] as const
export type Storey = (typeof STOREYS)[number]

export interface Import {
  /** Path from the root of the repository. */
  from: string
  /** Path from the root of the repository, or the name of a package. */
  to: string
  isType: boolean
}

/** Null for a file outside the product. */
export function storeyOf(file: string): Storey | null {
  if (file.startsWith('migrations/')) return 'platform'
  const [, top] = /^src\/([^/]+)/.exec(file) ?? []
  if (top === 'cli.ts' || top === 'commands' || top === 'demo') return 'cli'
  return STOREYS.find((storey) => storey === top) ?? null
}

const STATEMENT = /^(?:import|export)\s+(type\s+)?(?:[^'"]*?\sfrom\s+)?'([^']+)'/gm
const CALL = /\bimport\('([^']+)'\)/g

/** Path from the root of the repository → text, for every file of the product. */
export async function readSources(): Promise<Map<string, string>> {
  const sources = new Map<string, string>()
  for (const pattern of ['src/**/*.ts', 'migrations/*.ts'])
    for await (const file of glob(pattern, { cwd: ROOT })) sources.set(file, readFileSync(join(ROOT, file), 'utf8'))
  return sources
}

export async function readImports(): Promise<Import[]> {
  const found: Import[] = []
  for (const [from, text] of await readSources()) {
    const resolved = (name: string) => (name.startsWith('.') ? join(dirname(from), name) : name)
    for (const [, type, name] of text.matchAll(STATEMENT)) found.push({ from, to: resolved(name!), isType: type !== undefined })
    for (const [, name] of text.matchAll(CALL)) found.push({ from, to: resolved(name!), isType: false })
  }
  return found
}

export type Graph = ReadonlyMap<string, ReadonlySet<string>>

/** Folder → the other folders that it imports from. The files of the top storey count as one folder: the launcher and its commands. */
export function folderGraph(imports: readonly Import[]): Graph {
  const folderOf = (file: string) => (storeyOf(file) === 'cli' ? 'src' : dirname(file))
  const graph = new Map<string, Set<string>>()
  for (const { from, to } of imports) {
    if (storeyOf(to) === null || folderOf(from) === folderOf(to)) continue
    const known = graph.get(folderOf(from)) ?? new Set()
    graph.set(folderOf(from), known.add(folderOf(to)))
  }
  return graph
}

/** The nodes that lie on a circle, each with one walk back to itself. */
export function circlesOf(graph: Graph): string[] {
  const circles: string[] = []
  const done = new Set<string>()
  const walk = (node: string, path: readonly string[]): void => {
    if (path.includes(node)) return void circles.push([...path.slice(path.indexOf(node)), node].join(' → '))
    if (done.has(node)) return
    for (const next of graph.get(node) ?? []) walk(next, [...path, node])
    done.add(node)
  }
  for (const node of graph.keys()) walk(node, [])
  return circles
}
