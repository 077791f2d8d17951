/**
 * Runs commands one after the other in one process, each as if it had a process to itself: with its own arguments, environment, folder,
 * standard streams and exit code. The modules of the product are loaded once, which is most of what a command takes. See cli.ts.
 */
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Ran } from './cli.ts'

export interface Command {
  args: string[]
  env: NodeJS.ProcessEnv
  cwd: string
  input: string
}

class Exit {
  readonly code: number
  constructor(code: number) {
    this.code = code
  }
}

const CLI = new URL('../../src/cli.ts', import.meta.url)
const node = process.argv[0]!
let count = 0

async function run({ args, env, cwd, input }: Command): Promise<Ran> {
  process.argv = [node, fileURLToPath(CLI), ...args]
  process.env = { ...env }
  process.chdir(cwd)
  const written = { stdout: '', stderr: '' }
  const streams: PassThrough[] = []
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = new PassThrough().setEncoding('utf8')
    stream.on('data', (text: string) => {
      written[name] += text
    })
    streams.push(stream)
    Object.defineProperty(process, name, { value: stream, configurable: true })
  }
  Object.defineProperty(process, 'stdin', { value: Readable.from(input === '' ? [] : [Buffer.from(input)]), configurable: true })
  process.exit = (code) => {
    throw new Exit(Number(code ?? 0))
  }
  try {
    // the query makes the entry run again; what it imports is loaded already
    await import(`${CLI.href}?${count++}`)
    throw new Error(`${args.join(' ')} did not end`)
  } catch (error) {
    if (!(error instanceof Exit)) throw error
    for (const stream of streams) await once(stream.end(), 'end')
    return { code: error.code, ...written }
  }
}

process.on('message', async (command: Command) => {
  try {
    process.send!({ ran: await run(command) })
  } catch (error) {
    process.send!({ error: (error as Error).stack })
  }
})
process.on('disconnect', () => process.kill(process.pid))
