/**
 * A WebSocket, after all stages of an ordinary request. The upstream is asked first: the client gets its 101 only after the upstream has
 * sent one, with the upstream's choice of subprotocol and extensions. Then bytes pass unchanged (websocket-tunnel.ts).
 */
import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { OWN_SUBPROTOCOL, offersOwnSubprotocol } from '../../identity/access/request-credentials.ts'
import { systemClock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { type Authenticated, exchangeOf } from '../routing/exchange.ts'
import { NO_EDITS } from '../routing/header-edits.ts'
import { type Route, rewritePath } from '../routing/route-table.ts'
import type { Outcome } from '../upstream/circuit-breaker.ts'
import { writeStickyCookie } from '../upstream/sticky-sessions.ts'
import { toProblem } from '../upstream/upstream-errors.ts'
import { MAX_RESPONSE_HEADER_BYTES, type UpstreamSlot, type Upstreams } from '../upstream/upstreams.ts'
import { type HeaderRules, readResponse } from './headers.ts'
import { rewriteLocations } from './location.ts'
import { beginSending, endSending, finishRequestRecording, sendingAnswered } from './record-request.ts'
import type { OwnFields } from './response-relay.ts'
import { guardSession } from './session-answers.ts'
import type { StreamEnd, Streams } from './streams.ts'
import { joinSockets } from './websocket-tunnel.ts'

export interface BridgeDeps {
  upstreams: Upstreams
  headers: HeaderRules
  streams: Streams
}

/** Resolves when the stream has ended, or its refusal was relayed; rejects with a Problem before anything was answered. */
export type BridgeWebSocket = (
  request: FastifyRequest,
  reply: FastifyReply,
  exchange: Authenticated,
  /** Fields of the gateway that replace those of a refusal. */
  ownFields: OwnFields,
) => Promise<void>

/** The upstream's answer to a handshake. */
type Handshake =
  | { isAccepted: true; response: IncomingMessage; socket: Socket; head: Buffer }
  | { isAccepted: false; response: IncomingMessage; ask: ClientRequest }

export function createWebSocketBridge({ upstreams, headers, streams }: BridgeDeps): BridgeWebSocket {
  return async ({ raw }, reply, exchange, ownFields) => {
    const { route } = exchange
    const clientSocket = raw.socket
    let reason: StreamEnd = 'refused'
    let end = (why: StreamEnd) => {
      reason = why
      clientSocket.destroy()
    }
    // counted from here on: a pending handshake counts too
    const over = streams.open('websocket', false, { method: 'GET', exchange }, (why) => end(why))
    let slot: UpstreamSlot | undefined
    try {
      slot = await upstreams.enter(route, clientSocket, raw)
      const answer = await shakeHands(raw, exchange, slot)
      reply.hijack()
      if (!answer.isAccepted) return await passRefusal(answer, reply, route, ownFields())
      accept(clientSocket, answer, reply, exchange)
      reason = await new Promise((resolve) => {
        end = joinSockets(clientSocket, answer.socket, route.timeouts.idleMs, resolve)
      })
      // the response is detached from its socket and no longer sees its end
      reply.raw.emit('close')
    } catch (error) {
      if (!clientSocket.destroyed) throw error
      if (reason === 'refused') reason = 'client'
      if (!reply.sent) reply.hijack()
    } finally {
      slot?.leave()
      over(reason)
    }
  }

  async function shakeHands(raw: IncomingMessage, exchange: Authenticated, slot: UpstreamSlot): Promise<Handshake> {
    const { upstream } = slot
    const { route, target } = exchange
    const report = (outcome: Outcome) => slot.report(outcome, target.path)
    let isConnected = false
    const { recording } = exchange
    if (recording) beginSending(recording, upstream, 'GET', 0)
    const fields = await headers.outgoing(raw, exchange, upstream)
    // from here on a listener watches for the end of the socket
    if (raw.socket.destroyed) throw problem('request_malformed', { cause: 'the client left' })
    exchange.upstream = { name: upstream.name, origin: upstream.origin, askedAt: systemClock.steady() }
    const { isTls, host, port } = upstream.address
    return new Promise((resolve, reject) => {
      const ask = (isTls ? https : http).request({
        agent: false,
        host,
        port,
        path: rewritePath(route, target.path) + target.query,
        headers: [...fields, 'connection', 'Upgrade', 'upgrade', 'websocket'],
        maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
        ...upstream.connectOptions,
        // Node would take the name for TLS from Host; an address has none (RFC 6066 §3)
        ...(route.preserveHost && { servername: isIP(host) ? '' : host }),
      })
      const { connectMs, headersMs } = route.timeouts
      const unconnected = setTimeout(
        () => ask.destroy(problem('upstream_timeout', { cause: `no connection within connectMs = ${connectMs}` })),
        connectMs,
      )
      ask.once('socket', (socket) =>
        socket.once(isTls ? 'secureConnect' : 'connect', () => {
          isConnected = true
          slot.connected()
          clearTimeout(unconnected)
        }),
      )
      const giveUp = () => ask.destroy(problem('upstream_timeout', { cause: `no answer to the handshake within headersMs = ${headersMs}` }))
      const late = setTimeout(giveUp, headersMs)
      const clientLeft = () => ask.destroy(new Error('the client left'))
      raw.socket.once('close', clientLeft)
      const settle = () => {
        clearTimeout(late)
        clearTimeout(unconnected)
        raw.socket.off('close', clientLeft)
      }
      const answered = (status: number) => {
        settle()
        if (!recording) return
        sendingAnswered(recording, status)
        endSending(recording)
      }
      const refuse = (error: unknown) => {
        settle()
        const known = toProblem(error)
        if (recording) endSending(recording, known)
        const isUpstreams = known.code === 'upstream_unreachable' || known.code === 'upstream_timeout'
        if (isUpstreams && !raw.socket.destroyed) report(isConnected ? 'unanswered' : 'unreachable')
        reject(known)
      }

      ask.on('upgrade', (response, socket, head) => {
        const isAccepted = response.headers.upgrade?.toLowerCase() === 'websocket'
        socket.on('error', () => socket.destroy())
        if (!isAccepted) {
          socket.destroy()
          return refuse(problem('upstream_invalid', { cause: `an upgrade to ${response.headers.upgrade}` }))
        }
        answered(101)
        report('answered')
        resolve({ isAccepted, response, socket: socket as Socket, head })
      })
      ask.on('response', (response) => {
        if (response.statusCode! < 200) {
          ask.destroy()
          return refuse(problem('upstream_invalid', { cause: `status ${response.statusCode}` }))
        }
        answered(response.statusCode!)
        report(route.breaker.statuses.has(response.statusCode!) ? 'failing' : 'answered')
        resolve({ isAccepted: false, response, ask })
      })
      ask.on('error', refuse)
      ask.end()
    })
  }
}

/** Sends the upstream's 101 to the client; the socket is a WebSocket from here on. */
function accept(
  clientSocket: Socket,
  { response, head, socket }: Handshake & { isAccepted: true },
  reply: FastifyReply,
  exchange: Authenticated,
): void {
  reply.raw.detachSocket(clientSocket)
  // the tunnel has its own idle timeout
  clientSocket.setTimeout(0)
  reply.raw.statusCode = 101
  const own = ['connection', 'Upgrade', 'upgrade', 'websocket', 'x-request-id', exchange.requestId]
  // a browser closes a WebSocket whose offer of subprotocols was answered with none
  if (!response.headers['sec-websocket-protocol'] && offersOwnSubprotocol(reply.request.raw.headers))
    own.push('sec-websocket-protocol', OWN_SUBPROTOCOL)
  const { fields } = readResponse(response.rawHeaders, own, NO_EDITS)
  if (exchange.route.hasSessionCookies) guardSession(fields, exchange.principal)
  if (exchange.route.hasStickyCookies) writeStickyCookie(fields, reply.request.raw)
  const lines = fields.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${fields[i + 1]}`] : []))
  // the messages that follow may take hours
  finishRequestRecording(exchange, { method: 'GET', version: '1.1', status: 101, isComplete: true })
  clientSocket.write(`${['HTTP/1.1 101 Switching Protocols', ...lines].join('\r\n')}\r\n\r\n`, 'latin1')
  // bytes that came with the upstream's 101 are its first frames
  if (head.length) socket.unshift(head)
}

/** The upstream refuses the handshake: the client gets its response. */
function passRefusal(
  { response, ask }: Handshake & { isAccepted: false },
  reply: FastifyReply,
  route: Route,
  own: string[],
): Promise<void> {
  const clientSocket = reply.request.raw.socket
  if (!own.includes('connection')) own.push('connection', 'close')
  const { fields } = readResponse(response.rawHeaders, own, route.responseHeaders)
  rewriteLocations(fields, route, reply.request.raw)
  if (route.hasSessionCookies) guardSession(fields, exchangeOf(reply.request.raw).principal)
  if (route.hasStickyCookies) writeStickyCookie(fields, reply.request.raw)
  return new Promise((resolve) => {
    const late = route.timeouts.totalMs > 0 ? setTimeout(() => clientSocket.destroy(), route.timeouts.totalMs) : undefined
    const over = () => {
      clearTimeout(late)
      ask.destroy()
      resolve()
    }
    if (clientSocket.destroyed) return over()
    clientSocket.once('close', over)
    response.on('error', () => clientSocket.destroy())
    ask.setTimeout(route.timeouts.idleMs, () => ask.destroy())
    // once the whole response has come, only this timeout bounds a client that does not read
    clientSocket.setTimeout(route.timeouts.idleMs)
    reply.raw.writeHead(response.statusCode!, fields)
    response.pipe(reply.raw)
  })
}
