/** Reads the first message of a TLS client (RFC 8446 §4.1.2) before a server takes the connection: which name, and which protocols. */

export interface ClientHello {
  /** RFC 6066 §3, in lower case. Null: none. */
  serverName: string | null
  /** RFC 7301. Empty: none. */
  protocols: string[]
}

/** Larger than any ClientHello, also with post-quantum keys. */
const MAX_BYTES = 16_384
/** No client cuts its ClientHello into so many records. Each look at the bytes begins anew, so that many of them would cost much. */
const MAX_RECORDS = 16
const HANDSHAKE = 22
const CLIENT_HELLO = 1
const SERVER_NAME = 0
const ALPN = 16

/** @returns 'partial' when more bytes are needed; null for anything else than a ClientHello */
export function readClientHello(bytes: Buffer): ClientHello | 'partial' | null {
  const message = handshakeIn(bytes)
  if (message === null || message === 'partial') return message
  try {
    return parse(createReader(message))
  } catch {
    return null
  }
}

/** The handshake message may be split into several records. */
function handshakeIn(bytes: Buffer): Buffer | 'partial' | null {
  const parts: Buffer[] = []
  let length = 0
  let wanted: number | null = null
  for (let at = 0; parts.length < MAX_RECORDS; ) {
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return null
    if (bytes.length >= at + 2 && bytes[at + 1] !== 3) return null
    if (bytes.length < at + 5) return at + 5 > MAX_BYTES ? null : 'partial'
    const size = bytes.readUInt16BE(at + 3)
    if (size === 0 || at + 5 + size > MAX_BYTES) return null
    const part = bytes.subarray(at + 5, at + 5 + size)
    parts.push(part)
    length += part.length
    if (wanted === null && length >= 4) {
      const start = Buffer.concat(parts)
      if (start[0] !== CLIENT_HELLO) return null
      wanted = 4 + start.readUIntBE(1, 3)
      if (wanted > MAX_BYTES) return null
    }
    if (wanted !== null && length >= wanted) return Buffer.concat(parts).subarray(4, wanted)
    if (part.length < size) return 'partial'
    at += 5 + size
  }
  return null
}

function parse(hello: Reader): ClientHello {
  hello.skip(2 + 32) // version, random
  hello.skip(hello.uint8()) // session id
  hello.skip(hello.uint16()) // cipher suites
  hello.skip(hello.uint8()) // compression
  const found: ClientHello = { serverName: null, protocols: [] }
  if (hello.isAtEnd()) return found
  const extensions = createReader(hello.take(hello.uint16()))
  while (!extensions.isAtEnd()) {
    const type = extensions.uint16()
    const body = createReader(extensions.take(extensions.uint16()))
    if (type === SERVER_NAME) found.serverName = serverNameIn(createReader(body.take(body.uint16())))
    else if (type === ALPN) found.protocols = protocolsIn(createReader(body.take(body.uint16())))
  }
  return found
}

function serverNameIn(list: Reader): string | null {
  while (!list.isAtEnd()) {
    const isHostName = list.uint8() === 0
    const name = list.take(list.uint16())
    if (isHostName) return name.toString('latin1').toLowerCase()
  }
  return null
}

function protocolsIn(list: Reader): string[] {
  const names: string[] = []
  while (!list.isAtEnd()) names.push(list.take(list.uint8()).toString('latin1'))
  return names
}

interface Reader {
  uint8(): number
  uint16(): number
  take(length: number): Buffer
  skip(length: number): void
  isAtEnd(): boolean
}

/** Every read throws behind the end. */
function createReader(bytes: Buffer): Reader {
  let at = 0
  function take(length: number): Buffer {
    if (at + length > bytes.length) throw new RangeError('behind the end')
    at += length
    return bytes.subarray(at - length, at)
  }
  return {
    take,
    uint8: () => take(1).readUInt8(),
    uint16: () => take(2).readUInt16BE(),
    skip: (length) => void take(length),
    isAtEnd: () => at >= bytes.length,
  }
}
