/**
 * Writes the pictures of docs/architecture.md from the imports: `npm run architecture`. With `--check` it only reports whether they are
 * current.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { folderGraph, type Graph, readImports, STOREYS, type Storey, storeyOf } from './imports.ts'

const PAGE = fileURLToPath(new URL('../../docs/architecture.md', import.meta.url))
const PIPELINE = fileURLToPath(new URL('../../src/proxy/pipeline.ts', import.meta.url))

/** The folders of each storey, and the imports between folders of one storey. Arrows that follow from two others are left out. */
function housePicture(graph: Graph): string {
  const folders = [...new Set([...graph.keys(), ...[...graph.values()].flatMap((next) => [...next])])].sort()
  const ofStorey = (storey: Storey) => folders.filter((folder) => storeyOf(`${folder}/x.ts`) === storey)
  const idOf = (folder: string) => folder.replaceAll(/[^a-z]/g, '_')
  const nameOf = (folder: string, storey: Storey) => (folder === `src/${storey}` ? `${storey}/*.ts` : folder.replace(`src/${storey}/`, ''))
  const lines = ['flowchart TD']
  for (const storey of STOREYS) {
    if (storey === 'cli') {
      lines.push('  cli["cli: cli.ts, commands, demo"]')
      continue
    }
    const inside = ofStorey(storey)
    lines.push(`  subgraph ${storey}`)
    for (const folder of inside) lines.push(`    ${idOf(folder)}["${nameOf(folder, storey)}"]`)
    const within: Graph = new Map(
      inside.map((folder) => [folder, new Set([...(graph.get(folder) ?? [])].filter((to) => inside.includes(to)))]),
    )
    for (const [from, to] of arrowsOf(within)) lines.push(`    ${idOf(from)} --> ${idOf(to)}`)
    lines.push('  end')
  }
  lines.push(`  ${STOREYS.join(' ==> ')}`)
  return fenced('mermaid', lines)
}

/** Removes arrows that a longer path implies. */
function arrowsOf(graph: Graph): [from: string, to: string][] {
  const reach = (from: string, seen = new Set<string>()): Set<string> => {
    for (const next of graph.get(from) ?? []) if (!seen.has(next)) reach(next, seen.add(next))
    return seen
  }
  const arrows: [string, string][] = []
  for (const [from, all] of graph)
    for (const to of [...all].sort()) if (![...all].some((other) => other !== to && reach(other).has(to))) arrows.push([from, to])
  return arrows
}

/** The stages of pipeline.ts in their order, with the statuses that each can answer. */
function stageTable(): string {
  const lines = readFileSync(PIPELINE, 'utf8').matchAll(/\.(?:learn|check|answer)\('(\w+)'.*?\/\/ +([\d ]+)$/gm)
  const rows = [...lines].map(([, name, statuses], i) => `| ${i + 1} | \`${name}\` | ${statuses!.trim().replaceAll(' ', ', ')} |`)
  return ['| | stage | answers |', '|---|---|---|', ...rows].join('\n')
}

const fenced = (language: string, lines: readonly string[]): string => [`\`\`\`${language}`, ...lines, '```'].join('\n')

/** @returns the page as it should be */
export async function currentPage(page: string): Promise<string> {
  const parts: Record<string, string> = { house: housePicture(folderGraph(await readImports())), stages: stageTable() }
  return page.replaceAll(/(<!-- generated: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g, (whole, head: string, name: string, tail: string) =>
    parts[name] === undefined ? whole : `${head}${parts[name]}\n${tail}`,
  )
}

if (import.meta.main) {
  const page = readFileSync(PAGE, 'utf8')
  const current = await currentPage(page)
  if (!process.argv.includes('--check')) writeFileSync(PAGE, current)
  else if (current !== page) {
    process.stderr.write('docs/architecture.md does not show the present imports; run: npm run architecture\n')
    process.exitCode = 1
  }
}
