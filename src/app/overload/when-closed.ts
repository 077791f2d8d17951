import type { IncomingMessage, ServerResponse } from 'node:http'

/** Calls back once, when the response has ended or the client has left. */
export function whenClosed(
  { socket }: Pick<IncomingMessage, 'socket'>,
  response: Pick<ServerResponse, 'socket' | 'once'>,
  then: () => void,
): void {
  // a response that waits behind another on its connection may never emit its end
  const isBehindAnother = !response.socket
  let isClosed = false
  const closed = () => {
    if (isClosed) return
    isClosed = true
    if (isBehindAnother) socket.off('close', closed)
    then()
  }
  response.once('close', closed)
  if (isBehindAnother) socket.once('close', closed)
}
