/**
 * What undici does not say about its connections: which of them carries a request, whether it served before, and whether a byte of an answer
 * came. Also two repairs: an answer is read before a write error counts, and an unasked 100 Continue is skipped.
 */
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

/** The connection of one request. */
export interface Carrier {
  /** Null until the head of the request is written. */
  socket: WatchedSocket | null
  /** The connection carried another request before. */
  isReused: boolean
  /** Of the socket, when the request was written. */
  bytesBefore: number
}

export const newCarrier = (): Carrier => ({ socket: null, isReused: false, bytesBefore: 0 })

/** No byte came on the connection since the request was written. */
export const isUnheard = ({ socket, bytesBefore }: Carrier): boolean => socket !== null && socket.bytesRead === bytesBefore

interface Use {
  hasServed: boolean
  /** The next bytes are the head of a response. */
  awaitsHead: boolean
}
const USE = Symbol('use')
type WatchedSocket = Socket & { [USE]?: Use }

let isResetting = false
/** True while a connection's error event is being emitted: undici treats a reset as the regular end of a response without a length. */
export const isBeingReset = (): boolean => isResetting

/** The request whose head undici writes next. */
let nextCarrier: Carrier | null = null

/** Call it in `onConnect`: undici writes the head of that request directly afterwards. */
export function takeConnection(carrier: Carrier): void {
  nextCarrier = carrier
}

function onSend(message: unknown): void {
  const { socket } = message as { socket: WatchedSocket }
  const use = socket[USE]
  if (!use || !nextCarrier) return
  nextCarrier.socket = socket
  nextCarrier.isReused = use.hasServed
  nextCarrier.bytesBefore = socket.bytesRead
  nextCarrier = null
  use.hasServed = true
  use.awaitsHead = true
}

let watchers = 0
/** @returns stops watching; only the first call counts */
export function watchRequests(): () => void {
  let isWatching = true
  if (watchers++ === 0) diagnostics.subscribe('undici:client:sendHeaders', onSend)
  return () => {
    if (!isWatching) return
    isWatching = false
    if (--watchers === 0) diagnostics.unsubscribe('undici:client:sendHeaders', onSend)
  }
}

/** Call it for each new connection. */
export function watchSocket(socket: WatchedSocket): void {
  const use: Use = { hasServed: false, awaitsHead: false }
  socket[USE] = use
  socket.prependListener('error', () => {
    isResetting = true
    queueMicrotask(() => {
      isResetting = false
    })
  })
  readBeforeWriteErrors(socket)
  skipContinues(socket, use)
}

/**
 * A server may answer and close before it has read the whole request. Writing then fails while the answer still waits in the socket. The
 * error is held back until everything was read: the end of the reading side then closes the socket.
 */
function readBeforeWriteErrors(socket: Socket): void {
  type Done = (error?: Error | null) => void
  const patient =
    (done: Done): Done =>
    (error) => {
      if (error && !socket.destroyed && !socket.readableEnded) socket.once('close', () => done(error))
      else done(error)
    }
  const write = socket._write
  socket._write = (chunk, encoding, done) => write.call(socket, chunk, encoding, patient(done))
  const writev = socket._writev
  if (writev) socket._writev = (chunks, done) => writev.call(socket, chunks, patient(done))
}

const CONTINUE = 'HTTP/1.1 100'
const LONGEST_CONTINUE = 8192

/** We never ask for a 100 Continue. A server may send one all the same (RFC 9110 §15.2.1); undici would break the connection off. */
function skipContinues(socket: Socket, use: Use): void {
  const read = socket.read
  let held: Buffer | null = null
  socket.read = (size) => {
    for (;;) {
      const chunk: Buffer | null = read.call(socket, size)
      if (chunk === null || !use.awaitsHead) return chunk
      const bytes: Buffer = held ? Buffer.concat([held, chunk]) : chunk
      held = null
      const start = bytes.toString('latin1', 0, CONTINUE.length)
      const isContinue = start === CONTINUE
      const end = isContinue ? bytes.indexOf('\r\n\r\n') : -1
      if (end >= 0) {
        const rest = bytes.subarray(end + 4)
        if (rest.length) socket.unshift(rest)
      } else if ((isContinue || CONTINUE.startsWith(start)) && bytes.length < LONGEST_CONTINUE) held = bytes
      else {
        use.awaitsHead = false
        return bytes
      }
    }
  }
}
