/**
 * A WebSocket after everything that any other request has to pass. The upstream is asked first: the client gets its 101 only when the upstream
 * has given one, with the upstream's choice of subprotocol and extensions. From then on bytes are passed through, so that back-pressure is
 * TCP's own and no frame is read, changed or kept.
 */
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { problem } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import type { Exchange } from './exchange.ts'
import { type HeaderRules, responseHeaders } from './headers.ts'
import { type Route, rewritePath } from './routes.ts'
import type { Upstreams } from './upstreams.ts'

export interface BridgeDeps {
  upstreams: Upstreams
  headers: HeaderRules
  metrics: Metrics
}

/** Resolves when the stream is over, or its refusal passed on; rejects with a Problem before anything was answered. */
export type BridgeWebSocket = (request: FastifyRequest, reply: FastifyReply, exchange: Exchange, route: Route) => Promise<void>

export interface WebSocketBridge {
  bridge: BridgeWebSocket
  /** Ends every stream: RFC 6455 close frame 1001 (going away), then the connection. */
  closeAll(): void
}

/** Server-to-client close frame: FIN + opcode 8, two bytes, 1001. */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])

export function createWebSocketBridge({ upstreams, headers, metrics }: BridgeDeps): WebSocketBridge {
  const open = new Set<Duplex>()

  const bridge: BridgeWebSocket = (request, reply, exchange, route) => {
    const client = request.raw.socket
    const upstream = upstreams.next(route)
    exchange.upstream = { name: upstream.name, origin: upstream.origin, askedAt: performance.now() }
    const fields = [...headers.outgoing(request.raw, exchange, upstream.authority), 'connection', 'Upgrade', 'upgrade', 'websocket']
    const { protocol, hostname, port } = new URL(upstream.origin)

    return new Promise((resolve, reject) => {
      const ask = (protocol === 'https:' ? https : http).request({
        agent: false,
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port || (protocol === 'https:' ? 443 : 80),
        path: rewritePath(route, exchange.target!.path) + exchange.target!.query,
        headers: fields,
      })
      const late = setTimeout(
        () => ask.destroy(problem('upstream_timeout', { cause: 'no answer to the handshake' })),
        route.timeouts.headersMs,
      )
      const clientLeft = () => ask.destroy(new Error('the client left'))
      client.once('close', clientLeft)
      const settled = () => {
        clearTimeout(late)
        client.off('close', clientLeft)
      }

      ask.on('upgrade', (answer, stream, head) => {
        settled()
        reply.hijack()
        reply.raw.detachSocket(client)
        const names = responseHeaders(answer.rawHeaders, { 'x-request-id': true })
        const lines = [
          'HTTP/1.1 101 Switching Protocols',
          'connection: Upgrade',
          'upgrade: websocket',
          `x-request-id: ${exchange.requestId}`,
        ]
        for (let i = 0; i < names.length; i += 2) lines.push(`${names[i]}: ${names[i + 1]}`)
        client.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
        if (head.length) client.write(head)
        reply.raw.statusCode = 101
        // detached from its socket the response no longer hears that it is over
        join(client, stream, () => {
          reply.raw.emit('close')
          resolve()
        })
      })
      ask.on('response', (answer) => {
        // the upstream says no: its answer is the client's
        settled()
        reply.hijack()
        const own = { 'x-request-id': exchange.requestId, connection: 'close' }
        reply.raw.writeHead(answer.statusCode ?? 502, [...responseHeaders(answer.rawHeaders, own), ...Object.entries(own).flat()])
        answer.pipe(reply.raw)
        answer.on('error', () => client.destroy())
        ask.setTimeout(route.timeouts.idleMs, () => ask.destroy())
        client.once('close', () => {
          ask.destroy()
          resolve()
        })
      })
      ask.on('error', (error) => {
        settled()
        if (client.destroyed) {
          reply.hijack()
          resolve()
        } else
          reject(
            'code' in error && error.code === 'upstream_timeout'
              ? error
              : problem('upstream_unreachable', { cause: error, headers: { connection: 'close' } }),
          )
      })
      ask.end()
    })
  }

  function join(client: Duplex, stream: Duplex, done: () => void): void {
    open.add(client)
    // a peer that vanished without a word is noticed by TCP alone
    for (const side of [client, stream]) (side as Socket).setKeepAlive?.(true, 30_000)
    metrics.streamsOpen.inc({ kind: 'websocket' })
    let isOver = false
    const over = () => {
      if (isOver) return
      isOver = true
      open.delete(client)
      metrics.streamsOpen.dec({ kind: 'websocket' })
      client.destroy()
      stream.destroy()
      done()
    }
    // half-open streams are closed with their other half once it has been written out
    client.pipe(stream).pipe(client)
    for (const side of [client, stream]) side.on('error', over).on('close', over)
  }

  return {
    bridge,
    closeAll() {
      for (const client of open) client.end(GOING_AWAY)
    },
  }
}
