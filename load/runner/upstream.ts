/** The upstream behind the gateway. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Upstream {
  port: number
  /** The number of answered requests. */
  answered(): number
  stop(): void
}

/** A small response that repeats the identity header. */
export async function startUpstream(): Promise<Upstream> {
  let answered = 0
  const server = http.createServer((req, res) => {
    answered++
    const body = JSON.stringify({ user: req.headers['x-auth-user'], items: ['drawbridge', 'portcullis'] })
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  })
  // longer than the gateway's timeout: the upstream must not close a connection that is about to be used
  server.keepAliveTimeout = 600_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    answered: () => answered,
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}
