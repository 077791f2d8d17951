/** What stands behind the gateway. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Upstream {
  port: number
  /** How many requests it has answered. */
  answered(): number
  stop(): void
}

/** A small answer that repeats who calls, as an API behind the gateway is told. */
export async function startUpstream(): Promise<Upstream> {
  let answered = 0
  const server = http.createServer((req, res) => {
    answered++
    const body = JSON.stringify({ user: req.headers['x-auth-user'], items: ['drawbridge', 'portcullis'] })
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  })
  // longer than the gateway keeps its side open: it must not be this end that closes a connection which is about to be used
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
