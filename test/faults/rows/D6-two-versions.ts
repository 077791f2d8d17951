import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { until } from '../../support/processes.ts'
import { atEnd } from '../harness/cleanup.ts'
import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, failed, promiseAllOk, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const STEP = '9000-next-version'
/** Not more refreshes than this may fail during a migration. */
const SHARE = 0.001

export const row: FaultRow = {
  id: 'D6',
  fault: 'a migration under load beside a long transaction; the version before runs beside the next version',
  promise: 'at most 0.1 % of refreshes fail, both versions serve on the new schema, and the way back works',
  async run(options) {
    const seconds = lengthOf(options, 10, 3)
    const rate = options.short ? 40 : 150
    const tally = createTally()
    const next = nextVersion()
    const { stores, gateways, balancer, clients, successors } = await startSetting({
      workers: options.short ? 1 : 2,
      clients: options.short ? 20 : 60,
    })
    const [first, second] = gateways as [(typeof gateways)[0], (typeof gateways)[0]]
    const migrate = (...args: string[]) => first.command(['migrate', ...args], next.cli)
    const begun = performance.now()
    const refreshes = refreshTraffic(clients, rate)
    const proxied = proxiedTraffic([balancer.url], 50, { tokenOf: tokensOf(clients) })
    await pause(2000)
    // a report reads the table for some seconds: the step waits for its lock, in short attempts
    const report = new pg.Client({ connectionString: stores.databaseUrl })
    report.on('error', () => {})
    await report.connect()
    await report.query('BEGIN; LOCK TABLE refresh_tokens IN ACCESS SHARE MODE')
    const migrating = migrate('up')
    await pause(seconds * 1000)
    await report.query('COMMIT')
    await report.end()
    const output = await migrating
    tally.promise(output.includes(STEP) || (await hasColumn()), 'the step of the next version was not applied')
    await pause(2000)
    // one gateway after the other
    for (const gateway of [first, second]) {
      await restart(gateway, next.cli)
      await pause(1000)
      if (gateway === first) tally.add('seconds with both versions', seconds)
      if (gateway === first) await pause(seconds * 1000)
    }
    // and back: the version before on the new schema, then the schema before
    for (const gateway of [second, first]) await restart(gateway, undefined)
    await migrate('down', '--to', readdirSync(join(ROOT, 'migrations')).sort().at(-1)!.replace('.ts', ''), ...next.yes)
    tally.promise(!(await hasColumn()), 'the step of the next version was not reverted')
    await pause(2000)
    await refreshes.stop()
    await proxied.stop()
    const bad = failed(refreshes.samples)
    tally.promise(bad.length <= refreshes.samples.length * SHARE, countSamples(`refreshes that failed of ${refreshes.samples.length}`, bad))
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    await promiseOneSuccessor(tally, successors, stores.postgres)
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways, ${rate} refreshes/s; a transaction holds the table for ${seconds} s; each gateway to the next version and back; ${Math.round((performance.now() - begun) / 1000)} s`,
      [countSamples('refreshes', refreshes.samples), countSamples('proxied', proxied.samples)],
      tally,
    )

    async function restart(gateway: (typeof gateways)[0], cli: string | undefined): Promise<void> {
      const code = await gateway.stop()
      tally.promise(code === 0, `${gateway.name} ended with ${code}`)
      gateway.use(cli)
      await gateway.start()
      await until(() => balancer.ready().length === gateways.length, 'the balancer to notice')
    }
    async function hasColumn(): Promise<boolean> {
      const found = await stores.postgres.sql(
        `SELECT 1 FROM information_schema.columns WHERE table_name = 'refresh_tokens' AND column_name = 'next_note'`,
      )
      return found.length > 0
    }
  },
}

/** A copy of the program that has one step more, which only adds. */
function nextVersion(): { cli: string; yes: string[] } {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-faults-next-'))
  atEnd(() => rmSync(dir, { recursive: true, force: true }))
  for (const name of ['src', 'migrations', 'package.json']) cpSync(join(ROOT, name), join(dir, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  const steps = readdirSync(join(ROOT, 'migrations')).sort()
  const newest = steps.at(-1)!.replace('.ts', '')
  writeFileSync(
    join(dir, `migrations/${STEP}.ts`),
    `import { type Kysely, sql } from 'kysely'
export const minimum = '${newest}'
export const up = async (db: Kysely<unknown>): Promise<void> => void (await sql\`ALTER TABLE refresh_tokens ADD COLUMN next_note text\`.execute(db))
export const down = async (db: Kysely<unknown>): Promise<void> => void (await sql\`ALTER TABLE refresh_tokens DROP COLUMN next_note\`.execute(db))
`,
  )
  const file = join(dir, 'src/platform/db/migrate.ts')
  const text = readFileSync(file, 'utf8')
  const entry = new RegExp(`^  '${newest}': \\w+,\n`, 'm').exec(text)?.[0]
  if (!entry) throw new Error(`src/platform/db/migrate.ts does not list ${newest}`)
  writeFileSync(
    file,
    `import * as nextVersion from '../../../migrations/${STEP}.ts'\n${text.replace(entry, `${entry}  '${STEP}': nextVersion,\n`)}`,
  )
  // versions that ask before they revert
  const asks = readFileSync(join(dir, 'src/commands/migrate.ts'), 'utf8').includes('--yes')
  return { cli: join(dir, 'src/cli.ts'), yes: asks ? ['--yes'] : [] }
}
