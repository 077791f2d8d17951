/** The machine: the split of its CPUs, its description, and the CPU time and memory that a subject takes. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'

/** The subject has one CPU for itself; the load, the upstream and the stores share the other. */
export const SUBJECT_CPU = '0'
const OTHERS_CPU = '1'
export const BOTH_CPUS = '0,1'

/** Processes that start from here on also run there, unless started on another CPU. */
export function moveToOthersCpu(): void {
  if (availableParallelism() < 2) throw new Error('two CPUs are needed: one for the subject, one for the rest')
  execFileSync('taskset', ['-apc', OTHERS_CPU, String(process.pid)], { stdio: 'ignore' })
}

export interface MachineFacts {
  date: string
  cpu: string
  cpus: number
  node: string
  /** Of the last 1, 5 and 15 minutes, before anything was started. */
  loadBefore: string
}

export const machineFacts = (): MachineFacts => ({
  date: new Date().toISOString(),
  cpu: cpus()[0]?.model ?? 'unknown',
  cpus: cpus().length,
  node: process.version,
  loadBefore: loadavg()
    .map((load) => load.toFixed(2))
    .join(' '),
})

const TICK_US = 1_000_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** proc(5): the fields after the command, which may itself hold spaces. Null: the process has ended. */
function readStat(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

/** A process and all its descendants. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const pid of readdirSync('/proc').map(Number).filter(Boolean)) {
    const parent = Number(readStat(pid)?.[1])
    children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const tree = [root]
  for (const pid of tree) tree.push(...(children.get(pid) ?? []))
  return tree
}

/** User and system time of a process, its descendants, and their children that have ended. */
export function cpuTimeUs(root: number): number {
  const ticks = processTree(root).map((pid) => {
    const [user = 0, system = 0, childUser = 0, childSystem = 0] = (readStat(pid) ?? []).slice(11, 15).map(Number)
    return user + system + childUser + childSystem
  })
  return sum(ticks) * TICK_US
}

/** The sum of the largest resident memory of each process so far. */
export const peakRssMiB = (root: number): number => sum(processTree(root).map(highWaterKiB)) / 1024

function highWaterKiB(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0 // it has ended
  }
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)
