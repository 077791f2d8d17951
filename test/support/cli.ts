/** The command line within this process, with input and output of its own. */
import { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { createProgram } from '../../src/commands/program.ts'
import { run } from '../../src/commands/run.ts'
import { createTerminal } from '../../src/commands/terminal.ts'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** All commands, for tests that look at their names, options and helps. */
export const commandTree = (): Command => createProgram(createTerminal({ io: process, argv: [], gateway: null, run }))

/** Two streams, and in `out` what was written to them. */
export function collectOutput() {
  const out = { stdout: '', stderr: '' }
  const collect = (name: keyof typeof out) =>
    new Writable({
      decodeStrings: false,
      write(chunk, _, done) {
        out[name] += chunk
        done()
      },
    })
  return { out, stdout: collect('stdout'), stderr: collect('stderr') }
}

/** Runs one command to its end, with nothing but `env` in its environment. */
export async function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Ran> {
  const { out, stdout, stderr } = collectOutput()
  const code = await run(args, { stdin: Readable.from(input ? [input] : []), stdout, stderr, env })
  return { code, ...out }
}
