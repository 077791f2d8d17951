/** What a connection's death says: undici tells when it writes a request to a socket, and the socket whether it brought a byte since. */
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

interface Ends {
  localPort?: number | undefined
  remoteAddress?: string | undefined
  remotePort?: number | undefined
}
const endsOf = ({ localPort, remoteAddress, remotePort }: Ends): string => `${localPort} ${remoteAddress} ${remotePort}`

export function watchDeaths() {
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
      socket.prependListener('error', (error) => socketOf.set(error, socket))
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
