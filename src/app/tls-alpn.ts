/**
 * TLS-ALPN-01 (RFC 8737). OpenSSL chooses the certificate before the protocol, so that a name alone would give the certificate of a challenge
 * to ordinary clients. While a challenge is pending, the listener therefore reads the first message of each connection itself. A client that
 * offers nothing but `acme-tls/1` for a pending name goes to a server of its own, and everybody else to the listener.
 */
import type { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { type ClientHello, readClientHello } from '../platform/acme/client-hello.ts'

/** Passes a new connection on, at once or when its first message has come. */
export type TakeConnection = (socket: Socket, pass: () => void) => void

const PROTOCOL = 'acme-tls/1'

/**
 * @param certificates PEM by domain, of the pending challenges @param timeoutMs for the first message, and for the handshake
 * @param answered called after each handshake
 */
export function createTlsAlpn(certificates: () => ReadonlyMap<string, string>, timeoutMs: number, answered: () => void): TakeConnection {
  const server = tls.createServer({
    ALPNProtocols: [PROTOCOL],
    handshakeTimeout: timeoutMs,
    SNICallback(name, done) {
      const pem = certificates().get(name.toLowerCase())
      if (pem === undefined) done(new Error('no challenge is pending'))
      else done(null, tls.createSecureContext({ cert: pem, key: pem }))
    },
  })
  // RFC 8737 §3: after the handshake the connection is closed, and nothing is exchanged
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === PROTOCOL) answered()
    socket.on('error', () => socket.destroy()).end()
    socket.resume()
    socket.setTimeout(timeoutMs, () => socket.destroy())
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())

  const isPending = ({ serverName, protocols }: ClientHello) =>
    protocols.length === 1 && protocols[0] === PROTOCOL && certificates().has(serverName ?? '')

  return (socket, pass) => {
    if (certificates().size === 0) return pass()
    peekClientHello(socket, timeoutMs, (hello) => {
      if (hello && isPending(hello)) server.emit('connection', socket)
      else pass()
    })
  }
}

/** Reads the first message, and leaves it to the next reader. @param done is given null for anything else than a ClientHello */
function peekClientHello(socket: Socket, timeoutMs: number, done: (hello: ClientHello | null) => void): void {
  let bytes = Buffer.alloc(0)
  const destroy = () => void socket.destroy()
  const timer = setTimeout(destroy, timeoutMs)
  const stop = () => {
    clearTimeout(timer)
    socket.off('readable', look).off('end', destroy).off('error', destroy).off('close', stop)
  }
  function look(): void {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) bytes = Buffer.concat([bytes, chunk])
    if (bytes.length === 0) return
    const hello = readClientHello(bytes)
    if (hello === 'partial') return
    stop()
    socket.unshift(bytes)
    done(hello)
  }
  socket.on('readable', look).on('end', destroy).on('error', destroy).on('close', stop)
}
