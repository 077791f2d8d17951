/** Measures the gateway beside its peers, in one run on one machine. Prints a Markdown page and writes it, with the JSON, to a folder. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { has } from '../../test/support/processes.ts'
import { measureAddedLatency } from './added-latency.ts'
import { startDependencies } from './dependencies.ts'
import { installGoGateways } from './install.ts'
import { interrupted } from './interrupt.ts'
import { machineFacts, moveToOthersCpu } from './machine.ts'
import { compare, type Failure, failure, type Options } from './measure.ts'
import { profileGateway } from './profile.ts'
import { countRedisCalls } from './redis-calls.ts'
import { findRatios, isMissed, type Result, toMarkdown, writeResult } from './report.ts'
import { haproxy, nginx } from './subjects/c.ts'
import { ablations, gateway } from './subjects/gateway.ts'
import { goSubjects, REFUSED } from './subjects/go.ts'
import { TASKSET, WRK } from './subjects/needs.ts'
import { bare, naive, raw } from './subjects/node.ts'
import type { Subject } from './subjects/subject.ts'
import { compareWorkers } from './workers.ts'

const subjects = (bin: string) => [gateway, bare, raw, naive, nginx, haproxy, ...goSubjects(bin)]
const QUESTIONS = ['redis-calls', 'latency', 'workers']
const NAMES = [...[...subjects(''), ...ablations].map(({ name }) => name), ...QUESTIONS]

const HELP = `npm run bench -- [options]

  --runs N         measurements of each subject, in turns (5)
  --seconds N      length of each measurement (8)
  --connections N  connections of the load (32)
  --only A,B,C     measure only these
  --bin DIR        folder of the gateways in Go (~/.cache/portcullis-bench)
  --install        build the gateways in Go, then end
  --profile        only profile the gateway's own CPU time
  --out DIR        folder for latest.md and latest.json (load/compare/results)

  ${NAMES.join(', ')
    .replace(/(.{1,110})(?:, |$)/g, '$1\n  ')
    .trim()}

Needs Linux, two CPUs, wrk and taskset. The page lists everything else that is missing, with the command that installs it.
Exit code: 0; 99: a must was missed; 1: an installed subject could not be measured; 2: wrong usage; 130: interrupted.`

const complain = (text: string) => void process.stderr.write(`${text}\n`)

interface Args extends Options {
  only: string[]
  bin: string
  install: boolean
  profile: boolean
  out: string
  help: boolean
}

/** Null: wrong usage. */
function readArgs(): Args | null {
  try {
    const number = (fallback: string) => ({ type: 'string', default: fallback }) as const
    const { values } = parseArgs({
      options: {
        runs: number('5'),
        seconds: number('8'),
        connections: number('32'),
        bin: { type: 'string', default: join(homedir(), '.cache/portcullis-bench') },
        profile: { type: 'boolean', default: false },
        install: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        only: { type: 'string', default: NAMES.join() },
        out: { type: 'string', default: fileURLToPath(new URL('./results', import.meta.url)) },
      },
    })
    const { runs, seconds, connections, bin, install, profile, out, help } = values
    const only = values.only.split(',')
    if (![runs, seconds, connections].every((n) => /^[1-9]\d*$/.test(n)) || !only.every((name) => NAMES.includes(name))) return null
    return { runs: Number(runs), seconds: Number(seconds), connections: Number(connections), only, bin, install, profile, out, help }
  } catch {
    return null
  }
}

async function run({ only, bin, out, profile, runs, seconds, connections }: Args): Promise<number> {
  for (const { command, install } of [WRK, TASKSET]) if (!has(command)) throw new Error(`${command} is missing: ${install}`)
  const options = { runs, seconds, connections }
  const machine = machineFacts()
  moveToOthersCpu()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-'))
  // Postgres and the workers of nginx run as other users
  chmodSync(folder, 0o755)
  const dependencies = await startDependencies(folder)
  const surroundings = { folder, dependencies, report: complain }
  const notRun: Failure[] = []
  const isAsked = ({ name }: { name: string }) => only.includes(name)
  const answer = async <T>(name: string, fallback: T, ask: () => Promise<T>): Promise<T> => {
    if (!only.includes(name)) return fallback
    complain(name)
    return ask().catch((error: Error) => {
      interrupted.throwIfAborted()
      notRun.push(failure(name, error))
      return fallback
    })
  }
  const inTurns = async (subjects: Subject[]) => {
    const { measured, failures } = await compare(subjects, options, surroundings)
    notRun.push(...failures)
    return measured
  }
  try {
    if (profile) {
      console.log(await profileGateway(folder, dependencies, options))
      return 0
    }
    const parts = ablations.filter(isAsked)
    const goGateways = goSubjects(bin).filter(isAsked)
    const found = {
      machine: { ...machine, upstream: dependencies.upstreamKind, database: await dependencies.databaseKind(), wrk: wrkVersion() },
      options,
      subjects: await inTurns(subjects(bin).filter(isAsked)),
      ablations: parts.length ? await inTurns([gateway, ...parts]) : [],
      redisCalls: await answer('redis-calls', [], () => countRedisCalls(folder, dependencies)),
      addedLatency: await answer('latency', [], () => measureAddedLatency(folder, dependencies, options)),
      workers: await answer('workers', null, () => compareWorkers(options, surroundings)),
      notRun,
      tried: goGateways.length ? [...goGateways.map(({ name, tried = '' }) => ({ name, tried })), ...REFUSED] : [],
    }
    const result: Result = { ...found, ratios: findRatios(found) }
    writeResult(out, result)
    console.log(toMarkdown(result))
    return notRun.some(({ isMissing }) => !isMissing) ? 1 : result.ratios.some(isMissed) ? 99 : 0
  } finally {
    await dependencies.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

const wrkVersion = () => /\d+\.\d+\.\d+/.exec(spawnSync('wrk', ['-v'], { encoding: 'utf8' }).stdout)?.[0] ?? 'unknown'

function install(bin: string): number {
  const failed = installGoGateways(bin)
  complain(failed.length ? `could not be built: ${failed.join(', ')}` : `built into ${bin}`)
  return failed.length ? 1 : 0
}

async function main(): Promise<number> {
  const args = readArgs()
  if (!args) complain(HELP)
  if (args?.help) console.log(HELP)
  if (!args || args.help) return args ? 0 : 2
  try {
    return args.install ? install(args.bin) : await run(args)
  } catch (error) {
    if (interrupted.aborted) return 130
    complain((error as Error).message)
    return 1
  }
}

process.exitCode = await main()
