/** What a connection's death says: undici tells when it writes a request to a socket, and the socket whether it brought a byte since. */
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

interface Ends {
  localPort?: number | undefined
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}
const endsOf = ({ localPort, remoteAddress, remotePort }: Ends): string => `${localPort} ${remoteAddress} ${remotePort}`

let isResetting = false
/** An error of a connection is being told right now: undici takes a reset for the good end of an answer that has no length. */
export const isBeingReset = (): boolean => isResetting

export function watchStaleConnections() {
  const bytesAtSend = new WeakMap<Socket, number>()
  const socketOf = new WeakMap<Error, Socket>()
  /** undici's errors tell of a socket by its two ends alone. */
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
      const told = (error as { socket?: Ends }).socket
      const socket = socketOf.get(error) ?? (told && byEnds.get(endsOf(told)))
      const before = socket && bytesAtSend.get(socket)
      return before !== undefined && before > 0 && socket!.bytesRead === before
    },
    stop: () => void diagnostics.unsubscribe('undici:client:sendHeaders', onSend),
  }
}
