/**
 * Two sockets joined into one WebSocket. Bytes pass as they came; a side is read only as fast as the other takes, so that nothing grows here.
 * Of the frames only their ends are looked for: between two of them a ping can be said, and a close. The pong that answers our ping reaches the
 * other side, where it is one that nobody asked for, as RFC 6455 §5.5.3 allows.
 */
import type { Socket } from 'node:net'
import type { StreamEnd } from './streams.ts'
import { closeFrame, createFrameReader, type FrameReader, pingFrame } from './websocket-frames.ts'

/** RFC 6455 §7.4: 1001 is going away; 4000 to 4999 are for agreement, and 4401 says what 401 does. */
const CLOSE_CODES: Partial<Record<StreamEnd, [code: number, reason: string]>> = {
  expired: [4401, 'token expired'],
  revoked: [4401, 'token revoked'],
  idle: [1001, 'no sign of life'],
}
const GOING_AWAY: [code: number, reason: string] = [1001, 'going away']
/** For the peers to answer a close. */
const CLOSING_MS = 1000

/** One direction. */
interface Flow {
  from: Socket
  to: Socket
  /** RFC 6455 §5.3: what goes to a server is masked. */
  isMasked: boolean
  frames: FrameReader
  /** To be said at the end of the frame that is passing. */
  close: Buffer | null
  /** Nothing more passes. */
  isCut: boolean
  /** `from` has sent, or read, something since the last look. */
  isAlive: boolean
  wasPinged: boolean
}

/**
 * @param idleMs a side that was silent for so long is pinged, and given up after as long again
 * @param done called once, when both are gone, with who ended it
 * @returns ends it from here: a close frame to both sides, at the end of the frames that are passing
 */
export function joinSockets(
  client: Socket,
  upstream: Socket,
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
  const [up, down] = [flow(client, upstream, true), flow(upstream, client, false)]
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
    // read on: the answer to the close, and the end, are still to come
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
    // sooner than a half-close before it would have had it
    clearTimeout(closing)
    closing = undefined
    giveUpAfter(CLOSING_MS)
  }

  /** A frame may have no end, and a peer no answer. */
  function giveUpAfter(ms: number): void {
    closing ??= setTimeout(() => {
      client.destroy()
      upstream.destroy()
    }, ms)
  }

  function look(): void {
    for (const [flow, back] of [
      [up, down],
      [down, up],
    ] as const) {
      // what we hold up ourselves cannot be heard
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
    // a peer that vanished without a word
    from.setKeepAlive(true, 30_000)
    from.on('data', (chunk: Buffer) => pass(flow, chunk))
    from.on('drain', () => {
      flow.isAlive = true
      ;(flow === up ? down : up).from.resume()
    })
    const ended = () => {
      endedBy ??= flow === up ? 'client' : 'upstream'
      if (!flow.isCut) to.end()
      // a WebSocket knows no half-close: the other side has as long to say goodbye
      giveUpAfter(idleMs)
    }
    // while the upstream was asked a client may have said all that it has to say
    if (from.readableEnded) ended()
    else from.on('end', ended)
    from.on('error', () => from.destroy())
    from.on('close', () => {
      endedBy ??= flow === up ? 'client' : 'upstream'
      // what has been passed is still written out, as long as it is taken
      to.destroySoon()
      giveUpAfter(idleMs)
      if (++gone < 2) return
      clearInterval(watch)
      clearTimeout(closing)
      done(endedBy)
    })
    from.resume()
  }
  // it may have left while the upstream was asked
  for (const side of [client, upstream]) if (side.destroyed) side.emit('close')
  return end
}
