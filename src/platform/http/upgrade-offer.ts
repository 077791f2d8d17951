/**
 * An offer of another protocol is no demand: a server may answer as if there were none (RFC 9110 §7.8). Node's `shouldUpgradeCallback` is no
 * way to ignore an offer: its parser then drops the bytes that came behind the request, and no longer reports malformed bytes. So the request
 * is read again by a new parser, without its offer.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { busyWith } from './refuse.ts'

/** Reads a request of the event `upgrade` again, and then what follows it on the connection. @param head the bytes behind its header section */
export function readWithoutOffer(server: Server, req: IncomingMessage, socket: Socket, head: Buffer): void {
  const destroy = () => void socket.destroy()
  // Node has removed its own listeners
  const onTimeout = () => server.emit('timeout', socket) || socket.destroy()
  const onDrain = () => busyWith(socket)?.emit('drain')
  socket.on('error', destroy).on('timeout', onTimeout).on('drain', onDrain)
  readAgain()

  function readAgain(): void {
    const busy = busyWith(socket)
    // answers keep their order: a new parser does not know the requests of the old parser
    if (busy) return void busy.once('close', readAgain)
    socket.off('error', destroy).off('timeout', onTimeout).off('drain', onDrain)
    if (socket.destroyed) return
    const bytes = Buffer.concat([Buffer.from(headWithoutOffer(req), 'latin1'), head])
    // the client may have closed its half while its request waited
    const hasEnded = socket.readableEnded
    if (!hasEnded) socket.unshift(bytes)
    server.emit((socket as TLSSocket).encrypted ? 'secureConnection' : 'connection', socket)
    if (hasEnded) {
      socket.emit('data', bytes)
      socket.emit('end')
    }
  }
}

const OFFER = new Set(['upgrade', 'http2-settings'])

function headWithoutOffer({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (OFFER.has(name)) continue
    const value = name === 'connection' ? withoutOffer(rawHeaders[i + 1]!) : rawHeaders[i + 1]!
    if (value !== null) text += `${rawHeaders[i]}: ${value}\r\n`
  }
  return `${text}\r\n`
}

/** The other options of Connection stay, because they end here together with the fields that they name. Null: there are none. */
function withoutOffer(connection: string): string | null {
  const left = connection.split(',').filter((option) => !OFFER.has(option.trim().toLowerCase()))
  return left.length ? left.join(',') : null
}
