/** The part of the WebSocket framing (RFC 6455 §5.2) that is needed to insert control frames between the frames of a peer. */
import { randomBytes } from 'node:crypto'

const CLOSE = 0x8
const PING = 0x9
const FIN = 0x80
const MASKED = 0x80

/** Follows a stream of frames without keeping a byte of their payloads. */
export interface FrameReader {
  /** Follows `chunk`. @returns the bytes followed: all, or with `stopAtEnd` up to the end of the first frame */
  follow(chunk: Buffer, stopAtEnd?: boolean): number
  /** The next byte begins a frame. */
  isBetween(): boolean
  /** A close frame has begun: nothing may follow it (§5.5.1). */
  hasClosed(): boolean
}

export function createFrameReader(): FrameReader {
  /** Of the frame's header, up to 14 bytes. */
  const head = Buffer.alloc(14)
  let headLength = 0
  let payloadLeft = 0
  let hasClosed = false

  /** Zero while the header is incomplete. */
  function headSize(): number {
    if (headLength < 2) return 0
    const length = head[1]! & 0x7f
    const size = 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (head[1]! & MASKED ? 4 : 0)
    return headLength < size ? 0 : size
  }
  function payloadLength(): number {
    const length = head[1]! & 0x7f
    if (length === 126) return head.readUInt16BE(2)
    return length === 127 ? head.readUInt32BE(2) * 2 ** 32 + head.readUInt32BE(6) : length
  }

  return {
    follow(chunk, stopAtEnd = false) {
      let at = 0
      while (at < chunk.length) {
        if (payloadLeft > 0) {
          const skipped = Math.min(payloadLeft, chunk.length - at)
          payloadLeft -= skipped
          at += skipped
        } else {
          head[headLength++] = chunk[at++]!
          if (headSize() === 0) continue
          if ((head[0]! & 0x0f) === CLOSE) hasClosed = true
          payloadLeft = payloadLength()
          headLength = 0
        }
        if (stopAtEnd && payloadLeft === 0 && headLength === 0) break
      }
      return at
    },
    isBetween: () => headLength === 0 && payloadLeft === 0,
    hasClosed: () => hasClosed,
  }
}

/** @param isMasked true towards a server, false towards a client (§5.3) */
export const closeFrame = (code: number, reason: string, isMasked: boolean): Buffer => {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason))
  payload.writeUInt16BE(code)
  payload.write(reason, 2)
  return controlFrame(CLOSE, payload, isMasked)
}

export const pingFrame = (isMasked: boolean): Buffer => controlFrame(PING, Buffer.alloc(0), isMasked)

/** §5.5: at most 125 bytes, never fragmented. */
function controlFrame(opcode: number, payload: Buffer, isMasked: boolean): Buffer {
  if (!isMasked) return Buffer.concat([Buffer.from([FIN | opcode, payload.length]), payload])
  const key = randomBytes(4)
  const masked = payload.map((byte, i) => byte ^ key[i % 4]!)
  return Buffer.concat([Buffer.from([FIN | opcode, MASKED | payload.length]), key, masked])
}
