/** Ends what a row has started: when the row is over, when it fails, and when the process of the harness ends. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { descendantsOf } from '../../support/proc.ts'

const closers: (() => unknown)[] = []
const running = new Set<OwnProcess>()

/** Runs `close` at the end of the row, in reverse order. */
export const atEnd = (close: () => unknown): void => void closers.push(close)

/** Ends everything that was started since the last call. @returns what did not end cleanly */
export async function endAll(): Promise<string[]> {
  const faults: string[] = []
  for (let close = closers.pop(); close; close = closers.pop()) {
    try {
      await close()
    } catch (error) {
      faults.push(`while cleaning up: ${error}`)
    }
  }
  for (const own of running) own.killTree()
  return faults
}

// a Ctrl-C and an uncaught error, too: no process outlives the harness
process.on('exit', () => {
  for (const own of running) own.killTree()
})

export interface OwnProcess {
  pid: number
  isAlive(): boolean
  /** Sends a signal to this process only. */
  signal(signal: NodeJS.Signals): void
  /** Sends a signal to this process and its descendants. */
  signalTree(signal: NodeJS.Signals): void
  /** kill -9 for the process and its descendants, also when they are stopped. */
  killTree(): void
  /** The exit code, or the signal that ended it. */
  exit: Promise<number | NodeJS.Signals>
  /** Sends a signal and waits for the end. After `graceMs` the process is killed. */
  stop(signal?: NodeJS.Signals, graceMs?: number): Promise<number | NodeJS.Signals>
}

export interface SpawnOwnOptions {
  env?: NodeJS.ProcessEnv
  cwd?: string
  uid?: number
  gid?: number
  /** Standard output and standard error are appended to this file. */
  logFile: string
}

export function spawnOwn(command: string, args: string[], { logFile, ...options }: SpawnOwnOptions): OwnProcess {
  const log = openSync(logFile, 'a')
  // a group of its own: a Ctrl-C in the terminal goes to the harness alone, which ends its processes in order
  const child = spawn(command, args, { ...options, detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  const pid = child.pid
  if (pid === undefined) throw new Error(`${command} did not start`)
  const isAlive = () => child.exitCode === null && child.signalCode === null
  const exit = once(child, 'exit').then(([code, signal]) => {
    running.delete(own)
    return (code ?? signal) as number | NodeJS.Signals
  })
  const signalTree = (name: NodeJS.Signals) => {
    // its id may be another process's by then
    if (isAlive()) for (const each of [pid, ...descendantsOf(pid)]) send(each, name)
  }
  const own: OwnProcess = {
    pid,
    isAlive,
    signal: (name) => void (isAlive() && send(pid, name)),
    signalTree,
    killTree: () => signalTree('SIGKILL'),
    exit,
    async stop(name = 'SIGTERM', graceMs = 10_000) {
      if (!isAlive()) return exit
      send(pid, name)
      // a stopped process does not take the signal
      signalTree('SIGCONT')
      const timer = setTimeout(() => own.killTree(), graceMs)
      const how = await exit
      clearTimeout(timer)
      return how
    },
  }
  running.add(own)
  return own
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // ended in the meantime
  }
}
