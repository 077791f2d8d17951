/** The command line within this process, with input and output of its own. */
import { Readable, Writable } from 'node:stream'
import { run } from '../../src/commands/run.ts'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs one command to its end, with nothing but `env` in its environment. */
export async function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Ran> {
  const out = { stdout: '', stderr: '' }
  const collect = (name: keyof typeof out) =>
    new Writable({
      decodeStrings: false,
      write(chunk, _, done) {
        out[name] += chunk
        done()
      },
    })
  const io = { stdin: Readable.from(input ? [input] : []), stdout: collect('stdout'), stderr: collect('stderr'), env }
  return { code: await run(args, io), ...out }
}
