/** An upstream that answers late or never, beside a healthy upstream. */
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { quantile } from '../../support/quantile.ts'
import { connect } from '../../support/wire.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { tryAsk } from '../harness/http.ts'
import { openLoop } from '../harness/load.ts'
import { normalClient, promiseNormal, startLoneGateway } from '../harness/lone-gateway.ts'
import { startRowUpstream } from '../harness/upstream.ts'

const SLOTS = 40
/** The gateway promises 100 ms; a busy machine may take longer. */
const LATE_MS = 1000
/** A normal client may be slower than alone by this factor. Times below the floor are noise of a shared machine. */
const MOST_SLOWER = 1.2
const NOISE_MS = 50

export const row: FaultRow = {
  id: 'U1',
  fault: 'An upstream answers after seconds, or never',
  promise: '504 at the deadline; other upstreams are not affected; the slots of the slow upstream are bounded; an abort ends its request',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 45, 6)
    const deadlineMs = options.short ? 1000 : 5000
    let waiting = 0
    let mostWaiting = 0
    const slow = await startRowUpstream((req, res) => {
      mostWaiting = Math.max(mostWaiting, ++waiting)
      res.on('close', () => waiting--)
      const ms = Number(new URL(req.url!, 'http://u').searchParams.get('ms'))
      // 0: never
      if (ms > 0) setTimeout(() => res.end('late'), ms)
      return true
    })
    const fast = await startRowUpstream()
    const timeouts = { headersMs: deadlineMs }
    const gateway = await startLoneGateway({
      routes: [
        route('/slow', {
          upstream: [slow.url],
          timeouts,
          connections: { max: SLOTS, queue: SLOTS, maxShare: 1 },
          breaker: { failures: 0 },
        }),
        route('/fast', { upstream: [fast.url] }),
      ],
    })
    const alone = normalClient(`${gateway.url}/fast`, 50, createTally())
    await pause((seconds * 1000) / 3)
    await alone.stop()

    const normal = normalClient(`${gateway.url}/fast`, 50, tally)
    const late: number[] = []
    const kinds = [deadlineMs / 2, deadlineMs * 6, 0]
    const load = openLoop(SLOTS / (deadlineMs / 1000), async (index) => {
      const ms = kinds[index % kinds.length]!
      const answer = await tryAsk(`${gateway.url}/slow?ms=${ms}`, { timeoutMs: deadlineMs * 3 })
      tally.add(`slow: ${answer.status}`)
      if (answer.status === 504) late.push(answer.ms - deadlineMs)
      else if (answer.status === 200) tally.promise(ms === kinds[0], `an answer after ${ms} ms arrived in spite of the deadline`)
      else tally.promise(false, `a slow request ended with ${answer.status}`)
    })
    await pause(seconds * 1000)
    await load.stop()

    // more at a time than there are slots: the rest waits for connections.waitMs
    const crowd = await Promise.all(
      Array.from({ length: 3 * SLOTS }, () => tryAsk(`${gateway.url}/slow?ms=0`, { timeoutMs: deadlineMs * 3 })),
    )
    for (const { status } of crowd) tally.add(`crowd: ${status}`)
    tally.promise(
      crowd.every(({ status }) => status === 504 || status === 503),
      'a request of the crowd got another answer than 503 or 504',
    )

    const aborted = await Promise.all(
      Array.from({ length: SLOTS }, async () => {
        const client = await connect(gateway.port)
        client.write('GET /slow?ms=0 HTTP/1.1\r\nHost: a\r\n\r\n')
        return client
      }),
    )
    await until(() => waiting === SLOTS, 'the requests that will be aborted')
    const abortedAt = performance.now()
    // a FIN alone may come from a client that still reads
    for (const { socket } of aborted) socket.resetAndDestroy()
    await until(() => waiting === 0, 'the end of aborted requests at the upstream', deadlineMs - 200).catch(() => {})
    const abortMs = performance.now() - abortedAt
    tally.promise(waiting === 0, `${waiting} aborted requests went on at the upstream`)

    await normal.stop()
    promiseNormal(tally)
    const [before, beside] = [quantile(alone.times, 0.99), quantile(normal.times, 0.99)]
    tally.promise(
      beside < Math.max(NOISE_MS, MOST_SLOWER * before),
      `p99 of the other upstream ${before.toFixed(0)} → ${beside.toFixed(0)} ms`,
    )
    tally.promise(late.length > 0, 'nothing ended at the deadline')
    tally.promise(Math.max(...late) < LATE_MS, `a 504 came ${Math.max(...late).toFixed(0)} ms after the deadline`)
    tally.promise(mostWaiting <= SLOTS, `${mostWaiting} requests at a time reached the slow upstream`)
    promiseHealthy(gateway, tally)
    return {
      what: `answers after ${kinds[0]! / 1000} s, ${kinds[1]! / 1000} s and never for ${seconds} s, a deadline of ${deadlineMs / 1000} s, ${SLOTS} slots`,
      counts:
        `${tally.text()}; 504 at most ${Math.max(...late).toFixed(0)} ms after the deadline; p99 of the other upstream ` +
        `${before.toFixed(0)} → ${beside.toFixed(0)} ms; aborted requests ended in ${abortMs.toFixed(0)} ms`,
      broken: tally.broken,
    }
  },
}
