/** Samples the memory and CPU of the gateway's processes from /proc, and its own metrics. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { median } from './numbers.ts'

const SAMPLE_EVERY_MS = 2000
const SCRAPE_EVERY_MS = 10_000

export interface Sample {
  /** Since the start of sampling. */
  seconds: number
  rssMiB: number
}

export interface Vitals {
  heapMiB: number
  descriptors: number
  eventLoopLagMs: number
}

/** The process and all its descendants: several workers are one gateway. */
function processTree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const pid of readdirSync('/proc').map(Number).filter(Boolean)) {
    const parent = Number(statOf(pid)?.[1])
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const withDescendants = (pid: number): number[] => [pid, ...(children.get(pid) ?? []).flatMap(withDescendants)]
  return withDescendants(root)
}

/** The fields of proc_pid_stat(5) from the state on; null when the process has ended. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // the name before it may hold spaces and brackets
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

const unit = (name: string) => Number(execFileSync('getconf', [name], { encoding: 'utf8' }))
const TICKS_PER_SECOND = unit('CLK_TCK')
const PAGE_MIB = unit('PAGESIZE') / 1024 / 1024

/** User and system time of all processes and threads. */
export const cpuSecondsOf = (pid: number): number =>
  sum(
    processTree(pid)
      .map((member) => statOf(member))
      .map((stat) => (stat ? Number(stat[11]) + Number(stat[12]) : 0)),
  ) / TICKS_PER_SECOND

/** Pages that workers share count once for each worker. */
const rssMiBOf = (pid: number): number => sum(processTree(pid).map((member) => Number(statOf(member)?.[21] ?? 0))) * PAGE_MIB

const sum = (numbers: number[]) => numbers.reduce((total, n) => total + n, 0)

export interface Watched {
  memory: Sample[]
  vitals: Vitals[]
}

/** @returns a function that ends the sampling and returns the samples */
export async function watch(pid: number, adminUrl: string): Promise<() => Promise<Watched>> {
  const start = performance.now()
  const memory: Sample[] = []
  const vitals: Vitals[] = []
  const sample = () => memory.push({ seconds: (performance.now() - start) / 1000, rssMiB: rssMiBOf(pid) })
  // a scrape that fails on a busy gateway is skipped
  const ask = () =>
    readVitals(adminUrl).then(
      (seen) => vitals.push(seen),
      () => {},
    )
  // each scrape resets the histogram of the lag: the first scrape drops the values before this run
  await ask()
  const timers = [setInterval(sample, SAMPLE_EVERY_MS), setInterval(ask, SCRAPE_EVERY_MS)]
  sample()
  return async () => {
    for (const timer of timers) clearInterval(timer)
    sample()
    await ask()
    return { memory, vitals }
  }
}

/** For several workers, the sums. */
async function readVitals(adminUrl: string): Promise<Vitals> {
  const lines = (await (await fetch(`${adminUrl}/metrics`)).text()).split('\n')
  const total = (name: string) =>
    sum(lines.filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`)).map((line) => Number(line.split(' ').at(-1))))
  return {
    heapMiB: total('nodejs_heap_size_used_bytes') / 1024 / 1024,
    descriptors: total('process_open_fds'),
    eventLoopLagMs: total('nodejs_eventloop_lag_p99_seconds') * 1000,
  }
}

export interface Growth {
  fromMiB: number
  toMiB: number
  percent: number
}

/** Compares the median of the last minute with that of the minute after two minutes of warm-up; in a short run, of a fifth each. */
export function memoryGrowth(samples: Sample[]): Growth {
  const end = samples.at(-1)!.seconds
  const warmUp = Math.min(120, end / 5)
  const length = Math.min(60, end / 5)
  const medianOf = (from: number, to: number) =>
    median(samples.filter(({ seconds }) => seconds >= from && seconds <= to).map(({ rssMiB }) => rssMiB))
  const [fromMiB, toMiB] = [medianOf(warmUp, warmUp + length), medianOf(end - length, end)]
  return { fromMiB, toMiB, percent: (toMiB / fromMiB - 1) * 100 }
}
