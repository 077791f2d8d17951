/**
 * The connections that node:cluster hands to a worker. cluster gives a worker one connection at a time, and keeps its own descriptor until
 * the worker confirms. When the worker ends without confirming, cluster forgets the descriptor: the client would wait for ever.
 */
import type { ChildProcess } from 'node:child_process'
import type { Clock } from '../platform/lib/clock.ts'

/** A message of node:cluster. `newconn` comes with a connection, and its answer has the same number in `ack`. */
interface ClusterMessage {
  cmd?: string
  act?: string
  seq?: number
  ack?: number
}

interface HandOver {
  connection: { close(): void }
  at: number
}

/**
 * Closes the connections that the worker has not taken when it ends: their clients get a reset.
 * @param onTaken called with the milliseconds from the hand-over until the worker took the connection
 */
export function watchHandOvers(worker: ChildProcess, clock: Clock, onTaken: (waitedMs: number) => void): void {
  const waiting = new Map<number, HandOver>()
  const send = worker.send.bind(worker) as (message: ClusterMessage, ...more: unknown[]) => boolean
  Object.assign(worker, {
    send(message: ClusterMessage, ...more: unknown[]) {
      const [connection] = more
      if (message.cmd === 'NODE_CLUSTER' && message.act === 'newconn')
        waiting.set(message.seq!, { connection: connection as HandOver['connection'], at: clock.steady() })
      return send(message, ...more)
    },
  })
  worker.on('internalMessage', ({ ack }: ClusterMessage) => {
    const handOver = ack === undefined ? undefined : waiting.get(ack)
    if (!handOver) return
    waiting.delete(ack!)
    onTaken(clock.steady() - handOver.at)
  })
  // `disconnect` does not come while a connection waits
  worker.once('exit', () => {
    for (const { connection } of waiting.values()) connection.close()
    waiting.clear()
  })
}
