/**
 * Runs commands in the gateway that has the embedded database open, because only one process can open it. The gateway listens on a socket
 * in its data folder. Only the user that runs the gateway can connect to the socket.
 *
 * Each command is one HTTP request: its arguments are a header, its input is the body. The answer is a stream of frames, one JSON object a
 * line: text for standard output, text for standard error, and last the exit code.
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Io, Terminal } from './terminal.ts'

export const socketOf = (dataDir: string): string => join(dataDir, 'portcullis.sock')

const CALL_HEADER = 'x-portcullis-command'

interface Call {
  argv: readonly string[]
  /** Somebody reads the messages on a terminal, so that progress is shown. */
  isTerminal: boolean
  columns: number | undefined
}

type Frame = { stdout: string } | { stderr: string } | { exitCode: number }

const encode = (call: Call): string => Buffer.from(JSON.stringify(call)).toString('base64url')
const decode = (text: unknown): Call => JSON.parse(Buffer.from(String(text), 'base64url').toString())

/** Runs a command line with the services of the gateway. */
type RunHere = (argv: readonly string[], io: Io) => Promise<number | null>

export interface CommandSocket {
  /** Ends the commands that still run. */
  close(): Promise<void>
}

/** Listens for commands. The caller holds the lock of the folder, so a socket that is there was left by a process that was killed. */
export async function openCommandSocket(dataDir: string, run: RunHere): Promise<CommandSocket> {
  const running = new Set<Promise<void>>()
  const server = http.createServer((request, response) => {
    const work = answer(request, response, run)
      // the client has gone, or the call has no readable header
      .catch(() => void response.destroy())
      .finally(() => running.delete(work))
    running.add(work)
  })
  const path = socketOf(dataDir)
  rmSync(path, { force: true })
  // Node creates the socket within `listen`, so no other user can connect before its mode is set
  const mask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(mask)
  }
  await once(server, 'listening')
  server.unref()
  return {
    async close() {
      server.close()
      server.closeAllConnections()
      await Promise.all(running)
    },
  }
}

async function answer(request: http.IncomingMessage, response: http.ServerResponse, run: RunHere): Promise<void> {
  const { argv, isTerminal, columns } = decode(request.headers[CALL_HEADER])
  response.flushHeaders()
  const send = (frame: Frame, done?: (error?: Error | null) => void) => response.write(`${JSON.stringify(frame)}\n`, done)
  const output = (name: 'stdout' | 'stderr') =>
    new Writable({
      decodeStrings: false,
      write: (text: string, _, done) => void send({ [name]: String(text) } as Frame, done),
      // a client that leaves must not end the gateway
    }).on('error', () => {})
  const io: Io = {
    stdin: request.on('error', () => {}),
    stdout: Object.assign(output('stdout'), columns === undefined ? {} : { columns }),
    stderr: Object.assign(output('stderr'), { isTTY: isTerminal }),
    env: {},
  }
  const exitCode = await run(argv, io)
  await Promise.all([io.stdout, io.stderr].map((stream) => stream.destroyed || once(stream.end(), 'close')))
  send({ exitCode: exitCode ?? 0 })
  response.end()
}

/** Runs the command line of this process in the gateway. @returns the exit code, or null when no gateway listens */
export async function runInGateway(dataDir: string, { io, argv, input, complain }: Terminal): Promise<number | null> {
  const call: Call = { argv, isTerminal: io.stderr.isTTY === true, columns: io.stdout.columns }
  const request = http.request({ socketPath: socketOf(dataDir), method: 'POST', headers: { [CALL_HEADER]: encode(call) } })
  request.flushHeaders()
  // a command that fails early does not read its input
  const sent = input ? pipeline(input, request).catch(() => {}) : request.end()
  const response = await responseOf(request, dataDir)
  if (!response) return null
  complain(`database: embedded in ${dataDir}, through the running gateway`)
  let exitCode: number | undefined
  async function* standardOutput() {
    for await (const frame of framesOf(response!)) {
      if ('stdout' in frame) yield frame.stdout
      else if ('stderr' in frame) io.stderr.write(frame.stderr)
      else exitCode = frame.exitCode
    }
  }
  try {
    await pipeline(standardOutput, io.stdout, { end: false })
  } catch (error) {
    // the reader has closed the pipe, as `head` does
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return 0
    if (exitCode === undefined) throw new Error('the gateway stopped before the command was done', { cause: error })
    throw error
  } finally {
    request.destroy()
  }
  await sent
  if (exitCode === undefined) throw new Error('the gateway stopped before the command was done')
  return exitCode
}

/** @throws when the connection is lost */
async function* framesOf(response: http.IncomingMessage): AsyncGenerator<Frame> {
  let rest = ''
  for await (const chunk of response.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield JSON.parse(line)
  }
}

async function responseOf(request: http.ClientRequest, dataDir: string): Promise<http.IncomingMessage | null> {
  try {
    const [response] = await once(request, 'response')
    return response
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'ENOENT':
      case 'ECONNREFUSED':
        return null
      case 'EACCES':
        throw new Error(`the gateway of ${dataDir} runs as another user: run the command as that user`)
      default:
        throw new Error('the gateway stopped before the command was done', { cause: error })
    }
  }
}
