/**
 * Detects connections that were closed before they could serve a request. undici reports when it writes a request to a socket; the socket
 * shows whether it received a byte since.
 */
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

interface Ends {
  localPort?: number | undefined
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}
const endsOf = ({ localPort, remoteAddress, remotePort }: Ends): string => `${localPort} ${remoteAddress} ${remotePort}`

let isResetting = false
/** True while a connection's error event is being emitted: undici treats a reset as the regular end of a response without a length. */
export const isBeingReset = (): boolean => isResetting

export function watchStaleConnections() {
  const bytesAtSend = new WeakMap<Socket, number>()
  const socketOf = new WeakMap<Error, Socket>()
  /** undici's errors identify a socket only by its two endpoints. */
  const byEnds = new Map<string, Socket>()
  const onSend = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    bytesAtSend.set(socket, socket.bytesRead)
  }
  diagnostics.subscribe('undici:client:sendHeaders', onSend)
  return {
    watch(socket: Socket) {
      const ends = endsOf(socket)
      byEnds.set(ends, socket)
      socket.prependListener('error', (error) => {
        socketOf.set(error, socket)
        isResetting = true
        queueMicrotask(() => {
          isResetting = false
        })
      })
      socket.once('close', () => byEnds.delete(ends))
    },
    wereUnused(error: unknown): boolean {
      if (!(error instanceof Error)) return false
      const endpoints = (error as { socket?: Ends }).socket
      const socket = socketOf.get(error) ?? (endpoints && byEnds.get(endsOf(endpoints)))
      const before = socket && bytesAtSend.get(socket)
      return before !== undefined && before > 0 && socket!.bytesRead === before
    },
    stop: () => void diagnostics.unsubscribe('undici:client:sendHeaders', onSend),
  }
}
