/** An upstream on a bare socket: it answers with the given bytes, and keeps the bytes that it received. */
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'

export interface RawUpstream {
  url: string
  port: number
  /** All received bytes, over all connections. Latin-1. */
  received(): string
  connections(): number
  close(): Promise<void>
}

/**
 * Calls `answer` for each request with a complete header section: with the text so far, and the number of earlier requests on all
 * connections.
 */
export async function startRawUpstream(
  answer: (socket: Socket, request: string, before: number) => void,
  { host = '127.0.0.1', port: wanted = 0 }: { host?: string; port?: number } = {},
): Promise<RawUpstream> {
  let received = ''
  let connections = 0
  let requests = 0
  const open = new Set<Socket>()
  const server = net.createServer((socket) => {
    connections++
    open.add(socket)
    let text = ''
    socket.on('error', () => socket.destroy())
    socket.on('close', () => open.delete(socket))
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      text += chunk.toString('latin1')
      if (!text.includes('\r\n\r\n')) return
      const request = text
      text = ''
      answer(socket, request, requests++)
    })
  })
  server.listen(wanted, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    received: () => received,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}
