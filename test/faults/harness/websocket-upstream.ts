/** An upstream of WebSockets that knows how its connections ended. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import { atEnd } from './cleanup.ts'

export interface WebSocketUpstream {
  url: string
  open(): number
  /** How often each close code arrived. */
  closeCodes(): Map<number, number>
}

/** Echoes each message. */
export async function startWebSocketUpstream(): Promise<WebSocketUpstream> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const codes = new Map<number, number>()
  server.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('error', () => {})
    socket.on('close', (code) => codes.set(code, (codes.get(code) ?? 0) + 1))
  })
  atEnd(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, open: () => server.clients.size, closeCodes: () => codes }
}
