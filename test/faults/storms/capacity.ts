/** What a storm may wear out without a word: the places for requests on their way to an upstream. */
import { once } from 'node:events'
import net from 'node:net'
import { until } from '../../support/processes.ts'
import type { StormUpstream } from './upstream.ts'

export const AT_ONCE = 1000

/** @returns how many of 1000 requests are at the upstream at one time; the others were refused */
export async function capacity(port: number, upstream: StormUpstream): Promise<number> {
  let refused = 0
  const clients = await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.on('error', () => socket.destroy())
      socket.once('data', () => refused++)
      socket.write('GET /never/capacity HTTP/1.1\r\nHost: gateway.test\r\n\r\n')
      return socket
    }),
  )
  await until(() => upstream.inFlight() + refused >= AT_ONCE, 'all of them at the upstream or refused')
  const count = upstream.inFlight()
  for (const socket of clients) socket.destroy()
  await until(() => upstream.inFlight() === 0, 'the end of them')
  return count
}
