/** Writes the files of the Helm chart that are made from others: `npm run chart`. With `--check` it only reports whether they are up to date: `npm run chart:check`. */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parse } from 'yaml'
import { NEED_RESTART } from '../../src/app/reload-plan.ts'
import { VERSION } from '../../src/platform/lib/version.ts'

const CHART = 'deploy/helm/portcullis'

const read = (path: string) => readFileSync(path, 'utf8')
const readIfThere = (path: string): string | null => {
  try {
    return read(path)
  } catch {
    return null
  }
}

const isRuleFile = (path: string) => Array.isArray((parse(read(path)) as { groups?: unknown }).groups)

/** Helm reads patterns as Go does, which knows no look-ahead: `portcullis check` judges what is left out here. */
function forGo(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(forGo)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) => {
      if (key === 'pattern' && typeof inner === 'string') return isLookAhead(inner) ? [] : [[key, shortEscapes(inner)]]
      return [[shortEscapes(key), forGo(inner)]]
    }),
  )
}
const isLookAhead = (pattern: string) => /\(\?<?[!=]/.test(pattern)
const shortEscapes = (pattern: string) => pattern.replace(/\\u00([0-9a-f]{2})/gi, '\\x$1')

/** Path → text. */
function chartFiles(): Map<string, string> {
  const schema = JSON.parse(read(`${CHART}/values.schema.json`)) as { $defs: Record<string, unknown> }
  schema.$defs.configuration = forGo(JSON.parse(read('config/portcullis.schema.json')))
  const copies = [
    ...globSync('deploy/prometheus/*.yml')
      .filter(isRuleFile)
      .map((path) => [path, 'prometheus'] as const),
    ...globSync('deploy/grafana/dashboards/*.json').map((path) => [path, 'dashboards'] as const),
  ]
  return new Map([
    ...copies.map(([path, folder]) => [join(CHART, 'files', folder, basename(path)), read(path)] as const),
    [`${CHART}/files/needs-restart.txt`, `${NEED_RESTART.join('\n')}\n`],
    [`${CHART}/Chart.yaml`, read(`${CHART}/Chart.yaml`).replace(/^(version|appVersion): .*$/gm, `$1: ${VERSION}`)],
    [`${CHART}/values.schema.json`, `${JSON.stringify(schema, null, 2)}\n`],
  ])
}

const files = chartFiles()
const surplus = globSync(`${CHART}/files/*/*`).filter((path) => !files.has(path))
const stale = [...files].filter(([path, text]) => readIfThere(path) !== text).map(([path]) => path)
if (process.argv.includes('--check')) {
  if (stale.length + surplus.length > 0) {
    process.stderr.write(`out of date: ${[...stale, ...surplus].join(', ')}; run: npm run chart\n`)
    process.exitCode = 1
  }
} else {
  for (const path of surplus) rmSync(path)
  for (const path of stale) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, files.get(path)!)
  }
}
