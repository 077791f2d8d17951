/**
 * Tests the account API against its own OpenAPI document, with Schemathesis: `npm run test:api`. It starts Postgres, Redis, a mail server and
 * a gateway. Further arguments are for Schemathesis.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { has, TOOL_PATH } from '../support/processes.ts'
import { startApiGateway } from './gateway.ts'
import { startKeeper } from './keeper.ts'

const REPORTS = resolve('reports')
const JUNIT = resolve(REPORTS, 'api.xml')
const STATUSES = resolve(REPORTS, 'api-statuses.json')

/** The bound keeps the run within three minutes on two cores. An argument replaces it. */
const BOUNDS = ['--max-examples', '8', '--seed', '20']

interface Counts {
  statuses: Record<string, Record<string, number>>
  refusals: Record<string, number>
}

async function schemathesis(url: string, keeper: string, further: string[]): Promise<number> {
  const bounds = BOUNDS.flatMap((name, i) => (i % 2 === 0 && !further.includes(name) ? [name, BOUNDS[i + 1]!] : []))
  const arguments_ = [
    '--config-file',
    'test/api/schemathesis.toml',
    'run',
    `${url}/auth/openapi.json`,
    '--continue-on-failure',
    '--no-color',
  ]
  const child = spawn('schemathesis', [...arguments_, '--report', 'junit', '--report-junit-path', JUNIT, ...bounds, ...further], {
    env: { ...process.env, PATH: TOOL_PATH, PORTCULLIS_URL: url, PORTCULLIS_KEEPER: keeper, PORTCULLIS_STATUSES: STATUSES },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

/** What the hooks have counted. */
function printCounts({ statuses, refusals }: Counts): void {
  const operations = Object.entries(statuses)
  const requests = operations.flatMap(([, counts]) => Object.values(counts)).reduce((sum, count) => sum + count, 0)
  const without = operations.filter(([, counts]) => !Object.keys(counts).some((status) => status.startsWith('2'))).map(([name]) => name)
  const foreseen = Object.entries(refusals).map(([code, count]) => `${code} ${count}`)
  console.log(
    `${requests} requests to ${operations.length} operations; ${operations.length - without.length} of them succeeded at least once`,
  )
  if (without.length > 0) console.log(`never with success: ${without.join(', ')}`)
  if (foreseen.length > 0) console.log(`valid data that was refused for a reason that no schema foresees: ${foreseen.join(', ')}`)
}

async function main(further: string[]): Promise<number> {
  if (!has('schemathesis', TOOL_PATH)) {
    console.error('schemathesis is missing. Install it: bash .ci/run, or pip install schemathesis')
    return 1
  }
  mkdirSync(REPORTS, { recursive: true })
  const gateway = await startApiGateway()
  try {
    const keeper = await startKeeper(gateway)
    try {
      const code = await schemathesis(gateway.url, keeper.url, further)
      printCounts(JSON.parse(readFileSync(STATUSES, 'utf8')))
      const complaints = gateway.complaints()
      for (const line of complaints.slice(0, 5)) console.log(`the gateway complained: ${line}`)
      return complaints.length > 0 ? 1 : code
    } finally {
      await keeper.stop()
    }
  } finally {
    await gateway.stop()
  }
}

process.exitCode = await main(process.argv.slice(2))
