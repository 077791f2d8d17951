/** An upstream of WebSockets. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import { atEnd } from './cleanup.ts'

export interface WebSocketUpstream {
  url: string
  open(): number
}

/** Echoes each message. */
export async function startWebSocketUpstream(): Promise<WebSocketUpstream> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  server.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('error', () => {})
  })
  atEnd(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, open: () => server.clients.size }
}
