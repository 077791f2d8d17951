/** An upstream that fails every request: how often is a client's request sent? */
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { startRawUpstream } from '../../support/raw-upstream.ts'
import { connect } from '../../support/wire.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'
import { inParallel } from '../storms/random.ts'

const UNAVAILABLE = 'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
/** A client that closes its half may still read: its request ends after ten seconds. */
const LEAVING = [
  ['reset', 3000],
  ['FIN', 13_000],
] as const
/** Of all requests. */
const MOST_RETRIED = 0.2

export const row: FaultRow = {
  id: 'U3',
  fault: 'An upstream answers 503 in a burst, resets every request, or refuses connections',
  promise: 'A request is sent once; a GET that was reset at most twice; nothing goes on after its client has left',
  async run({ short }) {
    const tally = createTally()
    const count = short ? 100 : 2000
    const hits = new Map<string, number>()
    let [silent, isBroken] = [0, true]
    const upstream = await startRawUpstream((socket, request) => {
      const [, kind = '', id = ''] = /^\w+ \/(\w+)\/([\w-]+)/.exec(request) ?? []
      hits.set(id, (hits.get(id) ?? 0) + 1)
      if (kind === 'silent') {
        silent++
        socket.on('close', () => silent--)
      } else if (!isBroken) socket.write(OK)
      else if (kind === 'busy') socket.write(UNAVAILABLE)
      else socket.resetAndDestroy()
    })
    atEnd(() => upstream.close())
    const never = { breaker: { failures: 0 } }
    const gateway = await startLoneGateway({
      routes: [
        ...['/busy', '/reset', '/silent'].map((path) => route(path, { upstream: [upstream.url], ...never })),
        route('/refused', { upstream: ['http://127.0.0.1:1'], ...never }),
      ],
    })
    const started = performance.now()
    await inParallel(count, 32, async (index) => {
      const kind = ['busy', 'reset', 'refused'][index % 3]!
      const method = Math.floor(index / 3) % 2 ? 'POST' : 'GET'
      const id = `${kind}-${method}-${index}`
      const { status } = await ask(`${gateway.url}/${kind}/${id}`, { method, ...(method === 'POST' && { body: { id } }) })
      tally.add(`${kind}: ${status}`)
      const most = kind === 'reset' && method === 'GET' ? 2 : 1
      tally.promise((hits.get(id) ?? 0) <= most, `${kind} ${method}: sent ${hits.get(id)} times`)
      tally.promise(kind === 'busy' ? status === 503 : status === 502, `${kind} ${method} was answered with ${status}`)
    })
    const retries = [...hits.values()].reduce((sum, n) => sum + n - 1, 0)
    tally.promise(retries <= count * MOST_RETRIED, `${retries} of ${count} requests were sent again`)

    for (const [how, boundMs] of LEAVING) {
      const clients = await Promise.all(
        Array.from({ length: 25 }, async (_, n) => {
          const { socket } = await connect(gateway.port)
          socket.write(`GET /silent/silent-${how}-${n} HTTP/1.1\r\nHost: a\r\n\r\n`)
          return socket
        }),
      )
      await until(() => silent === clients.length, 'the silent requests at the upstream')
      for (const client of clients) how === 'reset' ? client.resetAndDestroy() : client.destroy()
      await until(() => silent === 0, 'the end of requests whose clients have left', boundMs).catch(() => {})
      tally.promise(silent === 0, `${silent} requests went on ${boundMs / 1000} s after their clients had left by ${how}`)
    }
    const again = [...hits].filter(([id, n]) => id.startsWith('silent') && n > 1).length
    tally.promise(again === 0, `${again} requests were sent again after their clients had left`)

    isBroken = false
    const { status } = await ask(`${gateway.url}/busy/well`)
    tally.promise(status === 200, `after the burst the answer is ${status}`)
    promiseHealthy(gateway, tally)
    const seconds = (performance.now() - started) / 1000
    return {
      what: `${count} requests in ${seconds.toFixed(0)} s, and 50 clients that leave`,
      counts: `${tally.text()}; sent again ${retries}`,
      broken: tally.broken,
    }
  },
}
