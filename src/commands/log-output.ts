/** Where the log lines of `serve` and `demo` go: readable lines on a terminal, JSON lines otherwise. */
import type { LogOutput } from '../platform/telemetry/log-output.ts'
import type { Io } from './terminal.ts'

export type LogFormat = 'json' | 'pretty'

export async function openLogOutput({ stdout, env }: Io, format?: LogFormat): Promise<{ output: LogOutput; isPretty: boolean }> {
  const [{ createLogOutput }, { readableOutput }] = await Promise.all([
    import('../platform/telemetry/log-output.ts'),
    import('../platform/telemetry/readable-log.ts'),
  ])
  const isTerminal = stdout.isTTY === true
  const isPretty = format ? format === 'pretty' : isTerminal
  const lines = createLogOutput()
  return { output: isPretty ? readableOutput(lines, { isColored: isTerminal && !env.NO_COLOR }) : lines, isPretty }
}
