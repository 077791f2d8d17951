/**
 * One response on its way through zlib, with back-pressure from the client to the upstream. What the upstream has sent reaches the client
 * when the upstream pauses: the compressor does not keep it until more comes.
 */
import type { ServerResponse } from 'node:http'
import type { Transform } from 'node:stream'
import { constants, createBrotliCompress, createGzip, createZstdCompress } from 'node:zlib'

/** RFC 9110 §8.4.1, RFC 7932, RFC 9659. Best first, for clients without a preference. */
export const CODINGS = ['br', 'zstd', 'gzip'] as const
export type Coding = (typeof CODINGS)[number]

interface CoderKind {
  open(): Transform & { flush(kind: number): void }
  /** Ends a block, so that the client can decode all bytes so far. */
  flush: number
}

/** Bounds the memory of a response. 2^18 bytes compress JSON and HTML nearly as well as the default, which is up to 2^24. */
const WINDOW_LOG = 18

/** Levels for answers that are made anew each time: brotli's default would need 50 times the CPU. */
const KINDS: Record<Coding, CoderKind> = {
  br: {
    open: () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_LGWIN]: WINDOW_LOG } }),
    flush: constants.BROTLI_OPERATION_FLUSH,
  },
  zstd: {
    open: () => createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_windowLog]: WINDOW_LOG } }),
    flush: constants.ZSTD_e_flush,
  },
  gzip: { open: () => createGzip({ level: 6 }), flush: constants.Z_SYNC_FLUSH },
}

export interface Coder {
  /** The upstream's bytes go in. `drain` says that it takes more. */
  readonly stream: Transform
  /** @returns false when the client must read before more is written */
  write(chunk: Buffer): boolean
}

/** Compressed bytes go to `response`, which ends with the stream. @param closed called once, when the memory of zlib is given back */
export function openCoder(coding: Coding, response: ServerResponse, closed: () => void): Coder {
  const { open, flush } = KINDS[coding]
  const stream = open()
  let isChecking = false

  /** A chunk was compressed. */
  function compressed(): void {
    if (isChecking || stream.writableLength > 0 || stream.writableEnded) return
    isChecking = true
    // two turns of the event loop: sockets are read between them, so that a chunk that is already there comes first
    setImmediate(setImmediate, flushUnlessMoreCame)
  }
  function flushUnlessMoreCame(): void {
    isChecking = false
    // a chunk that came meanwhile checks again
    if (stream.writableLength === 0 && !stream.writableEnded && !stream.destroyed) stream.flush(flush)
  }

  stream.once('close', closed)
  stream.once('error', () => response.destroy())
  // a client that leaves must not keep the memory of zlib
  response.once('close', () => stream.destroy())
  stream.pipe(response)
  return { stream, write: (chunk) => stream.write(chunk, compressed) }
}
