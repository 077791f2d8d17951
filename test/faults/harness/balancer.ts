/** A TCP balancer that asks `/readyz` and gives new connections in turn to gateways that are ready. */
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import { atEnd } from './cleanup.ts'
import { pause } from './fault-row.ts'
import { ask } from './http.ts'

export interface Balancer {
  port: number
  url: string
  /** The backends that get new connections. */
  ready(): string[]
}

export interface Backend {
  name: string
  port: number
  adminUrl: string
}

const ASK_EVERY_MS = 100
/** A busy machine of tests answers late. */
const ASK_TIMEOUT_MS = 2000
const CONNECT_TIMEOUT_MS = 1000

export async function startBalancer(backends: readonly Backend[]): Promise<Balancer> {
  const ready = new Set<Backend>()
  const sockets = new Set<Socket>()
  let turn = 0
  let isClosed = false

  async function look(backend: Backend): Promise<void> {
    const isReady = await ask(`${backend.adminUrl}/readyz`, { timeoutMs: ASK_TIMEOUT_MS }).then(
      ({ status }) => status === 200,
      () => false,
    )
    if (isReady) ready.add(backend)
    else ready.delete(backend)
  }
  async function watch(backend: Backend): Promise<void> {
    while (!isClosed) {
      await pause(ASK_EVERY_MS)
      await look(backend)
    }
  }

  /** Tries each ready backend once. */
  function connect(client: Socket, untried: Backend[]): void {
    const backend = untried.shift()
    if (!backend || client.destroyed) {
      client.resetAndDestroy()
      return
    }
    const server = net.connect({ port: backend.port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    const timer = setTimeout(() => server.destroy(new Error('connect timeout')), CONNECT_TIMEOUT_MS)
    const next = () => {
      clearTimeout(timer)
      connect(client, untried)
    }
    server.once('error', next)
    server.once('connect', () => {
      clearTimeout(timer)
      server.off('error', next)
      join(client, server)
    })
  }

  function join(client: Socket, server: Socket): void {
    sockets.add(server)
    for (const [socket, peer] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => peer.resetAndDestroy())
      socket.on('close', () => {
        sockets.delete(socket)
        peer.destroy()
      })
      socket.pipe(peer)
    }
  }

  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    sockets.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => sockets.delete(client))
    const list = backends.filter((backend) => ready.has(backend))
    const from = turn++ % Math.max(1, list.length)
    connect(client, [...list.slice(from), ...list.slice(0, from)])
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  await Promise.all(backends.map(look))
  const watchers = backends.map(watch)
  atEnd(async () => {
    isClosed = true
    listener.close()
    for (const socket of sockets) socket.destroy()
    await Promise.all(watchers)
  })
  const { port } = listener.address() as AddressInfo
  return { port, url: `http://127.0.0.1:${port}`, ready: () => [...ready].map(({ name }) => name) }
}
