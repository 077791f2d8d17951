/** Runs the rows of the fault matrix, one after the other, and writes their results into docs/reliability.md. */
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { endAll } from './harness/cleanup.ts'
import { type FaultResult, type FaultRow, pause } from './harness/fault-row.ts'
import { readRows } from './harness/read-rows.ts'
import { withRows } from './harness/table.ts'

const HELP = `npm run test:faults [-- --only P1,D2] [--short] [--seconds N] [--seed N] [--dry]

  --only IDS    rows by their ids
  --short       the short form of each row
  --seconds N   the length of each row, in place of its own
  --seed N      another seed gives other cases
  --dry         docs/reliability.md stays as it is

Exit code: 0 every promise held, 1 a promise did not hold, 2 wrong usage.`

const PAGE = fileURLToPath(new URL('../../docs/reliability.md', import.meta.url))

function readArgs() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string' },
        short: { type: 'boolean', default: false },
        seconds: { type: 'string' },
        seed: { type: 'string', default: '1' },
        dry: { type: 'boolean', default: false },
      },
    })
    const { only, seconds, seed, ...flags } = values
    if (![seconds ?? '1', seed].every((n) => /^[1-9]\d*$/.test(n))) return null
    return { ...flags, ids: only?.split(',') ?? null, seed: Number(seed), ...(seconds ? { seconds: Number(seconds) } : {}) }
  } catch {
    return null
  }
}

async function runRow(row: FaultRow, args: NonNullable<ReturnType<typeof readArgs>>): Promise<FaultResult> {
  try {
    return await row.run(args)
  } catch (error) {
    return { what: 'the row did not finish', counts: '', broken: [error instanceof Error ? (error.stack ?? error.message) : String(error)] }
  }
}

let isInterrupted = false

async function main(): Promise<number> {
  const args = readArgs()
  const all = await readRows()
  const rows = args?.ids ? all.filter(({ id }) => args.ids!.includes(id)) : all
  if (!args || (args.ids && rows.length !== args.ids.length)) {
    console.error(`${HELP}\n\nRows:\n${all.map(({ id, fault }) => `  ${id.padEnd(4)} ${fault}`).join('\n')}`)
    return 2
  }
  let isKept = true
  for (const row of rows) {
    if (isInterrupted) break
    console.log(`${row.id}  ${row.fault}`)
    const started = performance.now()
    const result = await runRow(row, args)
    result.broken.push(...(await endAll()))
    console.log(`    ${result.what}\n    ${result.counts}\n    ${Math.round((performance.now() - started) / 1000)} s in all`)
    for (const [first, ...others] of Map.groupBy(result.broken, (line) => line.replace(/\d+/g, 'N')).values())
      console.log(`    BROKEN ${others.length + 1} times, first: ${first}`)
    isKept &&= result.broken.length === 0
    if (!args.dry) writeFileSync(PAGE, withRows(readFileSync(PAGE, 'utf8'), [{ row, result }]))
  }
  return isKept ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    isInterrupted = true
    console.log(`${basename(process.argv[1]!)}: ${signal}, ending what was started`)
    // twice: the row may start one more process before it notices
    void endAll()
      .then(() => pause(1000))
      .then(endAll)
      .finally(() => process.exit(130))
  })

process.exitCode = await main()
// sockets that are still open do not keep it alive
if (!isInterrupted) process.exit()
