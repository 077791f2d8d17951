/**
 * Joins two sockets into one WebSocket. Bytes pass unchanged. A side is read only as fast as the other side accepts, so memory use is
 * bounded. The tunnel parses frames only to find their ends: between two frames it can insert a ping or a close. The pong that answers our
 * ping reaches the other side as an unsolicited pong, which RFC 6455 §5.5.3 allows.
 */
import type { Socket } from 'node:net'
import type { StreamEnd } from './streams.ts'
import { closeFrame, createFrameReader, type FrameReader, pingFrame } from './websocket-frames.ts'

/** RFC 6455 §7.4: 1001 means going away, 1012 (IANA registry) a restart of the service. 4000 to 4999 are for private use; 4401 means the same as HTTP 401. */
const CLOSE_CODES: Partial<Record<StreamEnd, [code: number, reason: string]>> = {
  expired: [4401, 'token expired'],
  revoked: [4401, 'token revoked'],
  idle: [1001, 'no sign of life'],
  // the client comes back under the new configuration
  reloaded: [1012, 'configuration changed'],
}
const GOING_AWAY: [code: number, reason: string] = [1001, 'going away']
/** Time for the peers to answer a close. */
const CLOSING_MS = 1000

/** One direction. */
interface Flow {
  from: Socket
  to: Socket
  /** RFC 6455 §5.3: frames to a server are masked. */
  isMasked: boolean
  frames: FrameReader
  /** Sent at the end of the frame that is passing. */
  close: Buffer | null
  /** Nothing more passes. */
  isCut: boolean
  /** `from` has sent, or read, something since the last check. */
  isAlive: boolean
  wasPinged: boolean
}

/**
 * @param idleMs a side that is silent for this time is pinged; after the same time again without a sign of life, the tunnel ends
 * @param done called once, when both sockets are closed, with the reason
 * @returns ends the tunnel: sends a close frame to both sides, at the end of the frames that are passing
 */
export function joinSockets(
  clientSocket: Socket,
  upstreamSocket: Socket,
  idleMs: number,
  done: (reason: StreamEnd) => void,
): (reason: StreamEnd) => void {
  const flow = (from: Socket, to: Socket, isMasked: boolean): Flow => ({
    from,
    to,
    isMasked,
    frames: createFrameReader(),
    close: null,
    isCut: false,
    isAlive: true,
    wasPinged: false,
  })
  const [up, down] = [flow(clientSocket, upstreamSocket, true), flow(upstreamSocket, clientSocket, false)]
  let endedBy: StreamEnd | null = null
  let closing: NodeJS.Timeout | undefined
  const watch = setInterval(look, idleMs).unref()

  function pass(flow: Flow, chunk: Buffer): void {
    flow.isAlive = true
    if (flow.isCut) return
    const length = flow.frames.follow(chunk, flow.close !== null)
    if (!flow.to.write(length < chunk.length ? chunk.subarray(0, length) : chunk)) flow.from.pause()
    if (flow.close && flow.frames.isBetween()) cut(flow)
  }

  function cut(flow: Flow): void {
    flow.isCut = true
    if (!flow.frames.hasClosed() && flow.to.writable) flow.to.write(flow.close!)
    flow.to.end()
    // keep reading: the answer to the close frame, and the end, are still to come
    flow.from.resume()
  }

  function end(reason: StreamEnd): void {
    endedBy ??= reason
    const [code, text] = CLOSE_CODES[reason] ?? GOING_AWAY
    for (const flow of [up, down]) {
      if (flow.isCut || flow.close) continue
      flow.close = closeFrame(code, text, flow.isMasked)
      if (flow.frames.isBetween()) cut(flow)
    }
    // a half-close may have set a longer timer: replace it
    clearTimeout(closing)
    closing = undefined
    giveUpAfter(CLOSING_MS)
  }

  /** A frame may never end, and a peer may never answer. */
  function giveUpAfter(ms: number): void {
    closing ??= setTimeout(() => {
      clientSocket.destroy()
      upstreamSocket.destroy()
    }, ms)
  }

  function look(): void {
    for (const [flow, back] of [
      [up, down],
      [down, up],
    ] as const) {
      // while we pause a side, its silence means nothing
      if (flow.isAlive || flow.from.isPaused()) {
        flow.isAlive = false
        flow.wasPinged = false
      } else if (flow.wasPinged) {
        end('idle')
        return
      } else {
        flow.wasPinged = true
        if (back.frames.isBetween() && !back.frames.hasClosed() && flow.from.writable) flow.from.write(pingFrame(back.isMasked))
      }
    }
  }

  let gone = 0
  for (const flow of [up, down]) {
    const { from, to } = flow
    // finds a peer that vanished without closing the connection
    from.setKeepAlive(true, 30_000)
    from.on('data', (chunk: Buffer) => pass(flow, chunk))
    from.on('drain', () => {
      flow.isAlive = true
      ;(flow === up ? down : up).from.resume()
    })
    const ended = () => {
      endedBy ??= flow === up ? 'client' : 'upstream'
      if (!flow.isCut) to.end()
      // a WebSocket has no half-close: the other side gets the same time to close
      giveUpAfter(idleMs)
    }
    // the client may have ended its side while the handshake was going on
    if (from.readableEnded) ended()
    else from.on('end', ended)
    from.on('error', () => from.destroy())
    from.on('close', () => {
      endedBy ??= flow === up ? 'client' : 'upstream'
      // bytes that have passed are still written out, as long as the peer reads
      to.destroySoon()
      giveUpAfter(idleMs)
      if (++gone < 2) return
      clearInterval(watch)
      clearTimeout(closing)
      done(endedBy)
    })
    from.resume()
  }
  // a socket may have closed during the handshake
  for (const side of [clientSocket, upstreamSocket]) if (side.destroyed) side.emit('close')
  return end
}
