/** A connection that a test controls: it sends bytes when the test says so, and collects the received bytes. Latin-1 both ways. */
import { once } from 'node:events'
import net from 'node:net'
import { until } from './processes.ts'

export interface Wire {
  socket: net.Socket
  write(bytes: string | Buffer): void
  /** All text received so far. */
  text(): string
  /** Waits until the text holds this. @returns the text */
  receives(part: string | RegExp): Promise<string>
  /** The code of an error of the connection, such as ECONNRESET, or null. */
  error(): string | null
  /** Waits until the peer has closed. @returns the text */
  closes(): Promise<string>
  destroy(): void
}

export async function connect(port: number): Promise<Wire> {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  let text = ''
  let isClosed = false
  let failure: string | null = null
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message
    socket.destroy()
  })
  for (const end of ['end', 'close'])
    socket.on(end, () => {
      isClosed = true
    })
  const holds = (part: string | RegExp) => (typeof part === 'string' ? text.includes(part) : part.test(text))
  return {
    socket,
    text: () => text,
    error: () => failure,
    write: (bytes) => void socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
    async receives(part) {
      await until(() => holds(part) || isClosed, `${part} on the wire; so far: ${text.slice(-300)}`)
      if (!holds(part)) throw new Error(`closed before ${part}; got: ${text.slice(-300)}`)
      return text
    },
    async closes() {
      await until(() => isClosed, `the end of the connection; so far: ${text.slice(-300)}`)
      return text
    },
    destroy: () => void socket.destroy(),
  }
}
