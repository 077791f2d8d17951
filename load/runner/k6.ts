/** Finds k6 and runs it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const K6_MISSING = 'k6 is missing: go install go.k6.io/k6@v1.8.1'

/** `go install` puts k6 in Go's own bin folder, which is often not on PATH. */
export function findK6(): string {
  const outputOf = (command: string, args: string[]) => {
    try {
      return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    } catch {
      return ''
    }
  }
  const goPath = outputOf('go', ['env', 'GOPATH'])
  const goBin = outputOf('go', ['env', 'GOBIN']) || (goPath && join(goPath, 'bin'))
  const k6 = [...(goBin ? [join(goBin, 'k6')] : []), 'k6'].find((command) => outputOf(command, ['version']))
  if (!k6) throw new Error(K6_MISSING)
  return k6
}

export interface K6Run {
  /** Path below `load/`. */
  script: string
  variables: Record<string, string | undefined>
  /** File for k6's own charts, without external resources. */
  chartsFile?: string
  onStart(child: ChildProcess): void
}

/** @returns k6's exit code */
export async function runK6(command: string, { script, variables, chartsFile, onStart }: K6Run): Promise<number> {
  const settings = Object.entries(variables).flatMap(([name, value]) => (value ? ['--env', `${name}=${value}`] : []))
  // an empty address: no control API on a fixed port
  const quiet = ['--quiet', '--no-usage-report', '--address=', '--include-system-env-vars=false']
  const child = spawn(command, ['run', ...quiet, ...settings, fileURLToPath(new URL(`../${script}`, import.meta.url))], {
    stdio: 'inherit',
    detached: true,
    env: { ...process.env, ...(chartsFile && dashboard(chartsFile)) },
  })
  onStart(child)
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

/** Port -1: no listener. */
const dashboard = (file: string) => ({
  K6_WEB_DASHBOARD: 'true',
  K6_WEB_DASHBOARD_PORT: '-1',
  K6_WEB_DASHBOARD_PERIOD: '1s',
  K6_WEB_DASHBOARD_EXPORT: file,
})
