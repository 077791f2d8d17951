/** Profiles the gateway: the functions that take most of its CPU time while it is warm and under load. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Dependencies } from './dependencies.ts'
import { type Options, WARM_UP_SECONDS, wrk } from './measure.ts'
import { table } from './report.ts'
import { start } from './running.ts'
import { gatewayVariant } from './subjects/gateway.ts'

/** The form of `node --cpu-prof`; times in microseconds of the machine's monotonic clock. */
interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  startTime: number
  samples: number[]
  timeDeltas: number[]
}

const SHOWN = 10
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** @returns a Markdown table */
export async function profileGateway(folder: string, dependencies: Dependencies, { seconds, connections }: Options): Promise<string> {
  const profiles = mkdtempSync(join(folder, 'profile-'))
  const profiled = gatewayVariant({ name: 'profiled', does: '', nodeArgs: ['--cpu-prof', `--cpu-prof-dir=${profiles}`] })
  const gateway = await start(profiled, folder, dependencies)
  let from = 0
  let to = 0
  try {
    await wrk(gateway, WARM_UP_SECONDS, connections)
    from = nowUs()
    await wrk(gateway, seconds, connections)
    to = nowUs()
  } finally {
    // the profile is written when the process ends
    await gateway.stop()
  }
  const [file = ''] = readdirSync(profiles)
  return topTen(JSON.parse(readFileSync(join(profiles, file), 'utf8')), from, to)
}

const nowUs = () => Number(process.hrtime.bigint() / 1000n)

function topTen({ nodes, startTime, samples, timeDeltas }: CpuProfile, from: number, to: number): string {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const selfUs = new Map<string, number>()
  let at = startTime
  for (const [i, id] of samples.entries()) {
    const lasted = timeDeltas[i + 1] ?? 0
    at += timeDeltas[i]!
    const name = names.get(id)!
    if (at >= from && at < to && !name.startsWith('(idle)')) selfUs.set(name, (selfUs.get(name) ?? 0) + lasted)
  }
  const total = [...selfUs.values()].reduce((a, b) => a + b, 0)
  const top = [...selfUs].sort(([, a], [, b]) => b - a).slice(0, SHOWN)
  return table(
    ['function', 'file', 'self time'],
    top.map(([name, us]) => [...name.split(' @ '), `${((us / total) * 100).toFixed(1)} %`]),
  )
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : url
  return `${functionName || 'anonymous'} @ ${file && `${file}:${lineNumber + 1}`}`
}
