/** A subject as a process: it is started, checked, and stopped while other subjects are measured. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { has, until } from '../../test/support/processes.ts'
import { freePorts, hasEnded, stop } from '../runner/processes.ts'
import { ANSWER, type Dependencies } from './dependencies.ts'
import { interrupted } from './interrupt.ts'
import { cpuTimeUs, processTree, SUBJECT_CPU } from './machine.ts'
import type { Subject } from './subjects/subject.ts'

export interface Running {
  name: string
  /** The measured URL. */
  url: string
  pid: number
  adminPort: number
  /** Null: requests have no token. */
  token: string | null
  folder: string
  log(): string
  /** The lines of its log that mention an error, else its last lines. */
  complaints(): string[]
  /**
   * A stopped process takes no CPU time, not even for timers. It becomes idle first: pending waits would have timed out when it resumes.
   */
  pause(): Promise<void>
  resume(): void
  stop(): Promise<void>
}

/** The subject cannot be measured because something is not installed. */
export class Missing extends Error {}

const START_TIMEOUT_MS = 60_000
const IDLE_MS = 200
const IDLE_SHARE = 0.11
const IDLE_TRIES = 15

/** @throws with a reason for the reader: what is missing, why it did not start, or which check failed */
export async function start(subject: Subject, parent: string, dependencies: Dependencies, cpus = SUBJECT_CPU): Promise<Running> {
  for (const { command, install } of subject.needs ?? []) if (!has(command)) throw new Missing(`${command} is missing: ${install}`)
  const [port = 0, adminPort = 0] = await freePorts(2)
  const folder = join(parent, `${subject.name}-${port}`)
  const logFile = join(folder, 'log')
  mkdirSync(folder, { recursive: true })
  const launch = await subject.prepare({ folder, port, adminPort, dependencies })
  const log = openSync(logFile, 'a')
  const child = spawn('taskset', ['-c', cpus, ...launch.command], {
    // settings of the calling shell must not influence the measurement
    env: { PATH: process.env.PATH, HOME: folder, NODE_ENV: 'production', ...launch.env },
    cwd: folder,
    stdio: ['ignore', log, log],
    // a process group of its own: Ctrl-C reaches only this process
    detached: true,
  })
  const url = `http://127.0.0.1:${port}/api/x`
  const signalAll = (signal: 'SIGSTOP' | 'SIGCONT') => {
    const tree = hasEnded(child) ? [] : processTree(child.pid!)
    // a parent that watches its children is stopped before them, and resumed after them
    for (const pid of signal === 'SIGSTOP' ? tree : tree.reverse()) process.kill(pid, signal)
  }
  const running: Running = {
    name: subject.name,
    url,
    pid: child.pid!,
    adminPort,
    token: null,
    folder,
    log: () => readFileSync(logFile, 'utf8'),
    complaints: () => whatWentWrong(running.log()),
    async pause() {
      await untilIdle(child.pid!)
      signalAll('SIGSTOP')
    },
    resume: () => signalAll('SIGCONT'),
    async stop() {
      signalAll('SIGCONT')
      await stop(child)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  try {
    await untilReady(child, launch.readyUrl, url)
    // a client sends its token to every subject; a subject that does not read it passes it on
    running.token = (await launch.token?.()) ?? dependencies.identity.tokens.EdDSA
    await assertHonest(subject, running)
    return running
  } catch (error) {
    const complaints = running.complaints()
    await running.stop()
    throw new Error([(error as Error).message, ...complaints].join('\n'))
  }
}

async function untilReady(child: ChildProcess, readyUrl: string | undefined, url: string): Promise<void> {
  const probe = async () => {
    if (hasEnded(child) || interrupted.aborted) return true
    const answer = await fetch(readyUrl ?? url, { signal: AbortSignal.timeout(1000) })
    return readyUrl === undefined || answer.ok
  }
  await until(probe, 'its readiness', START_TIMEOUT_MS)
  interrupted.throwIfAborted()
  if (hasEnded(child)) throw new Error('it ended while it was starting')
}

/** Waits until it takes almost no CPU time; gives up after a number of tries. */
async function untilIdle(pid: number): Promise<void> {
  for (let tries = 0, before = Number.NaN; tries < IDLE_TRIES; tries++) {
    const now = cpuTimeUs(pid)
    if (now - before < IDLE_SHARE * IDLE_MS * 1000) return
    before = now
    await sleep(IDLE_MS)
  }
}

/** A gateway that lets every request pass would look fast. */
async function assertHonest({ checksTokens }: Subject, { url, token }: Running): Promise<void> {
  const get = async (bearer: string | null) => {
    const answer = await fetch(url, { headers: bearer === null ? {} : { authorization: `Bearer ${bearer}` }, redirect: 'manual' })
    return { status: answer.status, body: await answer.text() }
  }
  const good = await get(token)
  if (good.status !== 200 || good.body !== ANSWER) throw new Error(`a good request was answered ${good.status}: ${good.body.slice(0, 200)}`)
  if (!checksTokens) return
  for (const bad of [null, forge(token!)]) {
    const { status } = await get(bad)
    if (status !== 401 && status !== 403) throw new Error(`${bad === null ? 'no token' : 'a forged token'} was answered ${status}`)
  }
}

/** The same token with a wrong signature. */
function forge(token: string): string {
  const [head, claims, signature = ''] = token.split('.')
  return [head, claims, signature.slice(1, -4) + (signature.startsWith('A') ? 'B' : 'A') + signature.slice(-4)].join('.')
}

function whatWentWrong(log: string): string[] {
  const lines = log.split('\n').filter(Boolean)
  const errors = lines.filter((line) => /error|fatal|alert/i.test(line))
  return (errors.length ? errors.slice(0, 3) : lines.slice(-3)).map((line) => line.slice(0, 500))
}
