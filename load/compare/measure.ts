/** Measures the load in turns: A B C A B C …, so that a minute in which the machine is slow affects all subjects. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Dependencies } from './dependencies.ts'
import { interrupted } from './interrupt.ts'
import { cpuTimeUs, peakRssMiB } from './machine.ts'
import { Missing, type Running, start } from './running.ts'
import type { Subject } from './subjects/subject.ts'

export interface Options {
  runs: number
  seconds: number
  connections: number
}

export interface Sample {
  /** User and system time of all processes of the subject, for each answered request. */
  cpuUs: number
  requestsPerSecond: number
  p50Ms: number
  p99Ms: number
  peakRssMiB: number
}

export interface Measured {
  name: string
  does: string
  version: string
  /** Why the figures may be misleading; empty when there is no doubt. */
  doubt: string
  median: Sample
  samples: Sample[]
}

export interface Failure {
  name: string
  reason: string
  /** The subject is not installed: nothing has failed. */
  isMissing: boolean
}

export const failure = (name: string, error: Error, complaints: string[] = []): Failure => ({
  name,
  reason: [error.message, ...complaints].join('\n'),
  isMissing: error instanceof Missing,
})

/** Until the compiler has optimised the hot code. */
export const WARM_UP_SECONDS = 3
/** After each pause. */
const REHEAT_SECONDS = 2
const SCRIPT = fileURLToPath(new URL('./wrk.lua', import.meta.url))

interface Asked {
  url: string
  token: string | null
}

/** @throws when a single request failed */
export async function wrk({ url, token }: Asked, seconds: number, connections: number) {
  const bearer = token === null ? [] : ['-H', `Authorization: Bearer ${token}`]
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', SCRIPT, ...bearer, url]
  const child = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true, signal: interrupted })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  await once(child, 'close')
  const { requests, us, failed, p50Us, p99Us } = JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, number>
  if (failed || !requests) throw new Error(`the run is invalid: ${failed} of ${requests} requests failed`)
  return { requests, requestsPerSecond: (requests / us!) * 1_000_000, p50Ms: p50Us! / 1000, p99Ms: p99Us! / 1000 }
}

async function sample(running: Running, { seconds, connections }: Options): Promise<Sample> {
  running.resume()
  await wrk(running, REHEAT_SECONDS, connections)
  const before = cpuTimeUs(running.pid)
  const { requests, ...rest } = await wrk(running, seconds, connections)
  const cpuUs = (cpuTimeUs(running.pid) - before) / requests
  await running.pause()
  return { cpuUs, ...rest, peakRssMiB: peakRssMiB(running.pid) }
}

export interface Comparison {
  measured: Measured[]
  failures: Failure[]
}

/** Starts all subjects, measures them in turns, and ends all. A subject that fails is left out from there on. */
export async function compare(
  subjects: Subject[],
  options: Options,
  { folder, dependencies, cpus, report }: { folder: string; dependencies: Dependencies; cpus?: string; report: (text: string) => void },
): Promise<Comparison> {
  const failures: Failure[] = []
  const running = new Map<Subject, { process: Running; samples: Sample[] }>()
  const attempt = async (subject: Subject, step: () => Promise<void>) => {
    try {
      await step()
    } catch (error) {
      interrupted.throwIfAborted()
      const process = running.get(subject)?.process
      failures.push(failure(subject.name, error as Error, process?.complaints()))
      report(`${subject.name}: ${failures.at(-1)!.reason}`)
      await process?.stop()
      running.delete(subject)
    }
  }
  try {
    for (const subject of subjects) {
      await attempt(subject, async () => {
        const process = await start(subject, folder, dependencies, cpus)
        running.set(subject, { process, samples: [] })
        await wrk(process, WARM_UP_SECONDS, options.connections)
        await process.pause()
      })
    }
    for (let run = 1; run <= options.runs; run++) {
      for (const [subject, { process, samples }] of running) {
        await attempt(subject, async () => {
          samples.push(await sample(process, options))
          report(`run ${run}: ${subject.name} ${samples.at(-1)!.cpuUs.toFixed(1)} µs`)
        })
      }
    }
    const measured: Measured[] = []
    for (const [{ name, does, version, doubt }, { process, samples }] of running) {
      process.resume()
      const doubted = (await doubt?.(process.adminPort)) ?? ''
      measured.push({ name, does, version: version(), doubt: doubted, median: medians(samples), samples })
      await process.pause()
    }
    return { measured, failures }
  } finally {
    for (const { process } of running.values()) await process.stop()
  }
}

export function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const medians = (samples: Sample[]): Sample =>
  Object.fromEntries(Object.keys(samples[0]!).map((key) => [key, median(samples.map((s) => s[key as keyof Sample]))])) as unknown as Sample
