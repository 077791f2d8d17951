/** An upstream that closes idle connections at the moment when the next request is sent. */
import { route } from '../../support/config.ts'
import { startUpstream } from '../../support/upstream.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { keepAliveAgent, tryAsk } from '../harness/http.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'
import { randomOf } from '../storms/random.ts'

const CLIENTS = 50
const IDLE_MS = 200
/** A POST cannot be sent again: it is lost when the connection closes under it. */
const MOST_POSTS_LOST = 0.01

export const row: FaultRow = {
  id: 'U4',
  fault: 'An upstream closes and resets idle connections while requests are sent, and restarts',
  promise: 'No GET fails; no POST is executed twice',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 60, 5)
    const executed = new Map<string, number>()
    const upstream = await startUpstream((req, res) => {
      const id = req.url!.slice(3)
      if (req.method === 'POST') executed.set(id, (executed.get(id) ?? 0) + 1)
      req.resume()
      res.end(id)
      return true
    })
    atEnd(() => upstream.close())
    // Node adds a second to its own idle time; this closes at the time itself
    upstream.server.on('connection', (socket) => {
      socket.setTimeout(IDLE_MS, () => (socket.bytesRead % 3 === 0 ? socket.resetAndDestroy() : socket.destroy()))
    })
    upstream.server.keepAliveTimeout = 0
    const gateway = await startLoneGateway({
      routes: [route('/', { upstream: [upstream.url], connections: { keepAliveMs: 60_000 } })],
    })
    const agent = keepAliveAgent()
    const until = performance.now() + seconds * 1000
    let sent = 0
    await Promise.all(
      Array.from({ length: CLIENTS }, async (_, n) => {
        const random = randomOf(options.seed, n)
        while (performance.now() < until) {
          const id = `${n}-${sent++}`
          const method = random.below(5) === 0 ? 'POST' : 'GET'
          const body = method === 'POST' ? {} : undefined
          const answer = await tryAsk(`${gateway.url}/x/${id}`, { method, agent, timeoutMs: 10_000, body })
          tally.add(`${method} ${answer.status}`)
          if (method === 'GET') tally.promise(answer.status === 200, `a GET was answered with ${answer.status}`)
          if (answer.status === 200) tally.promise(answer.text === id, "a client got another's answer")
          // around the moment when the upstream closes
          await pause(IDLE_MS - 10 + random.below(20))
        }
      }),
    )
    agent.destroy()
    const twice = [...executed.values()].filter((n) => n > 1).length
    const posts = tally.sum('POST ')
    const lost = posts - tally.get('POST 200')
    tally.promise(twice === 0, `${twice} POSTs were executed twice`)
    tally.promise(lost <= posts * MOST_POSTS_LOST, `${lost} of ${posts} POSTs failed`)
    const retries = await gateway.metric('portcullis_upstream_retries_total')
    promiseHealthy(gateway, tally)
    return {
      what: `${CLIENTS} clients that ask every ${IDLE_MS} ms, as the upstream closes after ${IDLE_MS} ms; ${seconds} s`,
      counts: `${tally.text()}; ${retries} sent again, ${twice} executed twice`,
      broken: tally.broken,
    }
  },
}
