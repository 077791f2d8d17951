/** Child processes and ports of the test run; each is ended by its own id. */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** PATH with the folders of tools.ts: Debian installs some programs where only root looks, and .ci/run installs others from Python packages and Go modules. */
export const TOOL_PATH = [
  process.env.PATH,
  '/usr/sbin',
  join(homedir(), '.cache/portcullis/proxies/bin'),
  join(homedir(), '.cache/portcullis/python-tools/bin'),
  join(process.env.GOPATH ?? join(homedir(), 'go'), 'bin'),
].join(':')

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** True when the command is on PATH. */
export const has = (command: string, path = process.env.PATH): boolean =>
  spawnSync('sh', ['-c', `command -v ${command}`], { env: { PATH: path } }).status === 0

/** Installs a Debian package. @returns false where this is not possible */
export function installPackage(name: string): boolean {
  if (process.getuid?.() !== 0 || !has('apt-get')) return false
  console.log(`tests: no ${name} on PATH; installing the Debian package ${name}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { stdio: 'inherit', env })
  return true
}

/** An environment without anything that configures a gateway. Node keeps what it has compiled: of the product, too, which spares half a second a start. */
export const bare = (): NodeJS.ProcessEnv => ({ PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE })

export interface Running {
  child: ChildProcess
  output(): string
  stop(signal?: NodeJS.Signals): Promise<void>
}

export function start(command: string, args: string[], options: SpawnOptions = {}): Running {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      text = (text + chunk).slice(-200_000)
    })
  child.on('error', (error) => {
    text += error.message
  })
  return {
    child,
    output: () => text,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await gone
      clearTimeout(timer)
    },
  }
}

/** Polls until `probe` returns a truthy value. Tests wait in no other way. */
export async function until<T>(
  probe: () => Promise<T | undefined | false | null> | T | undefined | false | null,
  what: string,
  timeoutMs = 15_000,
): Promise<T> {
  const end = Date.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const value = await probe()
      if (value) return value
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms for: ${what}${last ? ` (${last})` : ''}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
