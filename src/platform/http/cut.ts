/** Connections that end in the middle of a response. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** To HTTP/1.0 the end of the connection is the end of a response without a length. Node's TLS says goodbye even when it is destroyed. */
export const endsByClose = ({ httpVersion }: IncomingMessage): boolean => httpVersion === '1.0'

/** Resets the connection, so that a client does not take it for a regular end. Under TLS, the connection below is reset. */
export function resetConnection(socket: Socket & { _parent?: Socket | null }): void {
  if (socket._parent) socket._parent.resetAndDestroy()
  else socket.resetAndDestroy()
  socket.destroy()
}
