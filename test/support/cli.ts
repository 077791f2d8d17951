/** The command line: each command in a process of its own, or, far cheaper, one after the other in one that has loaded everything already. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from './cli-host.ts'
import { bare, type Running, start } from './processes.ts'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

const NODE = resolve('node_modules/.bin/node')
const CLI = resolve('src/cli.ts')

const environment = (env: NodeJS.ProcessEnv, home: string): NodeJS.ProcessEnv => ({ ...bare(), HOME: home, ...env })

export const spawnCli = (args: string[], env: NodeJS.ProcessEnv, cwd: string): Running =>
  start(NODE, [CLI, ...args], { cwd, env: environment(env, cwd), stdio: ['pipe', 'pipe', 'pipe'] })

/** Runs one command to its end, in a process of its own. */
export async function runAlone(args: string[], env: NodeJS.ProcessEnv, input: string, cwd: string): Promise<Ran> {
  const { child } = spawnCli(args, env, cwd)
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.on('data', (chunk) => {
      out[name] += chunk
    })
  child.stdin!.on('error', () => {}).end(input)
  const [code] = await once(child, 'close')
  return { code, ...out }
}

export interface CliHost {
  /** Runs one command to its end. Others wait for it. */
  run(args: string[], env: NodeJS.ProcessEnv, input: string, cwd: string): Promise<Ran>
  close(): void
}

export function startCliHost(): CliHost {
  const child: ChildProcess = fork(fileURLToPath(new URL('./cli-host.ts', import.meta.url)), { execPath: NODE, execArgv: [] })
  let last: Promise<unknown> = Promise.resolve()
  const ask = async (command: Command): Promise<Ran> => {
    child.send(command)
    const [answer] = (await once(child, 'message')) as [{ ran?: Ran; error?: string }]
    if (!answer.ran) throw new Error(answer.error)
    return answer.ran
  }
  return {
    run(args, env, input, cwd) {
      const ran = last.then(() => ask({ args, env: environment(env, cwd), cwd, input }))
      last = ran.catch(() => {})
      return ran
    },
    close: () => child.disconnect(),
  }
}
