/** What the machine gives the gateway: disk, files, memory, cores and a clock that is kept. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { availableParallelism, tmpdir, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Config } from '../../platform/config/schema.ts'
import { HEAP_BYTES } from '../../platform/lib/heap-limit.ts'
import { createDescriptors } from '../overload/descriptors.ts'
import { reservedDescriptors } from '../overload/gate.ts'
import { countWorkers, shareOf } from '../worker-share.ts'
import { sizeText } from './database.ts'
import { needsDataDir } from './permissions.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'
import type { RunningGateway } from './running-gateway.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

export async function diskRows(config: Config): Promise<Row[]> {
  const folders = [
    ...(needsDataDir(config) ? [{ name: 'disk database.dataDir', path: config.database.dataDir }] : []),
    { name: 'disk for temporary files', path: tmpdir() },
  ]
  return Promise.all(folders.map(async ({ name, path }) => rowOf(name, await judgeDisk(path))))
}

async function judgeDisk(path: string): Promise<Finding> {
  let at = resolve(path)
  while (!existsSync(at)) at = dirname(at)
  const { bavail, blocks, bsize, files, ffree } = await statfs(at)
  return judgeSpace({ path: at, freeBytes: bavail * bsize, totalBytes: blocks * bsize, freeFiles: files === 0 ? null : ffree })
}

export interface Space {
  path: string
  freeBytes: number
  totalBytes: number
  /** Null: the file system has no fixed number. */
  freeFiles: number | null
}

export function judgeSpace({ path, freeBytes, totalBytes, freeFiles }: Space): Finding {
  const share = totalBytes === 0 ? 0 : freeBytes / totalBytes
  const found = `${sizeText(freeBytes)} of ${sizeText(totalBytes)} free at ${path}`
  const advice = `make room: sudo du -xh ${path} | sort -h | tail`
  if (freeFiles !== null && freeFiles < 1000)
    return fail(`${freeFiles} more files fit at ${path}`, `remove files: sudo find ${path} -xdev -type f | head`)
  if (freeBytes < 100 * MIB) return fail(found, advice)
  return freeBytes < GIB && share < 0.1 ? warn(found, advice) : ok(found)
}

/** Open in a process before its first connection. */
const USUALLY_OPEN = 40

export function descriptorRow(config: Config, gateway: RunningGateway | null): Row {
  const pid = gateway?.owner?.pid ?? null
  const limit = limitOf(pid ?? 'self')
  const whose = limit === null ? '' : pid === null ? 'in this shell' : `in the running gateway (process ${pid})`
  return rowOf('open files', limit === null ? notChecked('this system does not show the limit') : judgeDescriptors(config, limit, whose))
}

export function judgeDescriptors(config: Config, limit: number, whose: string): Finding {
  const share = shareOf(config, countWorkers(config))
  const { maxConnections, overload } = share.server
  const { connections } = createDescriptors({
    limit,
    used: USUALLY_OPEN,
    reserved: reservedDescriptors(share),
    maxConnections,
    maxInFlight: overload.maxInFlight || Number.POSITIVE_INFINITY,
  })
  const found = `${limit} ${whose}: enough for ${connections} of ${maxConnections} connections in each worker`
  const advice = 'raise the limit: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536; or lower server.maxConnections'
  if (connections < maxConnections / 2) return fail(found, advice)
  return connections < maxConnections ? warn(found, advice) : ok(found)
}

function limitOf(pid: number | 'self'): number | null {
  try {
    const soft = /^Max open files +(\d+|unlimited)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]
    return soft === undefined ? null : soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft)
  } catch {
    return pid === 'self' ? null : limitOf('self')
  }
}

/** A worker without requests, measured. */
const WORKER_BYTES = 150 * MIB

export function memoryRow(config: Config): Row {
  const limit = memoryLimit()
  return rowOf('memory', judgeMemory(config, limit ?? totalmem(), limit !== null))
}

export function judgeMemory(config: Config, bytes: number, isLimit: boolean, heapBytes: number = HEAP_BYTES): Finding {
  const workers = countWorkers(config)
  const { memoryKiB, concurrency } = config.auth.password.argon2
  const processes = workers > 1 ? workers + 1 : 1
  const needed = processes * WORKER_BYTES + memoryKiB * 1024 * concurrency
  const have = `${sizeText(bytes)} ${isLimit ? 'is the limit of this container or service' : 'in this machine'}`
  const found = `${have}; ${processes} ${processes > 1 ? 'processes' : 'process'} and ${concurrency} password hashes need at least ${sizeText(needed)}`
  if (needed > bytes) return fail(found, 'raise the limit, or lower server.workers or auth.password.argon2.concurrency')
  if (isLimit && heapBytes > bytes * 0.9)
    return warn(
      `${have}, and the heap of one process may grow to ${sizeText(heapBytes)}`,
      `set NODE_OPTIONS=--max-old-space-size=${Math.floor((bytes * 0.75) / processes / MIB)}`,
    )
  return ok(found)
}

/** Of the control group, versions 2 and 1. Null: none, or not known. */
function memoryLimit(): number | null {
  const group = /^0::(.*)$/m.exec(textOf('/proc/self/cgroup') ?? '')?.[1] ?? ''
  const files = [
    `/sys/fs/cgroup${group === '/' ? '' : group}/memory.max`,
    '/sys/fs/cgroup/memory.max',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
  ]
  const text = files.map(textOf).find((found) => found !== null)
  const bytes = Number(text)
  // version 1 shows a huge number for no limit
  return text != null && Number.isFinite(bytes) && bytes < totalmem() ? bytes : null
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null
  }
}

export const coresRow = (config: Config): Row => rowOf('cores', judgeCores(config, availableParallelism()))

export function judgeCores(config: Config, cores: number): Finding {
  const workers = countWorkers(config)
  const { concurrency } = config.auth.password.argon2
  const found = `${cores}, for ${workers} ${workers > 1 ? 'workers' : 'worker'} and ${concurrency} password hashes at a time`
  if (workers > cores) return warn(found, 'set server.workers to the number of cores, or to auto')
  return concurrency > cores ? warn(found, 'lower auth.password.argon2.concurrency: logins take the cores from requests') : ok(found)
}

const NTP_MS = 2000

export async function ntpRow(): Promise<Row> {
  try {
    const { stdout } = await promisify(execFile)('timedatectl', ['show', '--property=NTPSynchronized', '--value'], { timeout: NTP_MS })
    return rowOf('time service', judgeNtp(stdout.trim()))
  } catch {
    return rowOf('time service', notChecked('timedatectl does not answer here; in a container the clock is that of its machine'))
  }
}

export function judgeNtp(answer: string): Finding {
  switch (answer) {
    case 'yes':
      return ok('the clock is synchronised')
    case 'no':
      return warn('the clock is not synchronised', 'sudo timedatectl set-ntp true')
    default:
      return notChecked('timedatectl does not say')
  }
}
