/** One of several upstreams of a route dies, and comes back. */
import { route } from '../../support/config.ts'
import { startUpstream } from '../../support/upstream.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { normalClient, startLoneGateway } from '../harness/lone-gateway.ts'

const MOST_FAILED = 0.01

export const row: FaultRow = {
  id: 'U6',
  fault: 'One of three upstreams of a route refuses connections',
  promise: 'It gets no more requests, and fewer than 1 % of all requests fail',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 30, 5)
    const upstreams = await Promise.all(Array.from({ length: 3 }, () => startUpstream()))
    for (const upstream of upstreams.slice(1)) atEnd(() => upstream.close())
    const gateway = await startLoneGateway({ routes: [route('/', { upstream: upstreams.map(({ url }) => url) })] })
    const client = normalClient(`${gateway.url}/x`, 100, tally)
    await pause((seconds * 1000) / 3)
    const before = tally.get('normal requests: ok')
    await upstreams[0]!.close()
    await pause((seconds * 2000) / 3)
    await client.stop()
    const sent = tally.sum('normal requests: ')
    const failed = sent - tally.get('normal requests: ok')
    tally.promise(failed <= sent * MOST_FAILED, `${failed} of ${sent} requests failed`)
    tally.promise(sent > before, 'no request was sent after the end of the upstream')
    const retries = await gateway.metric('portcullis_upstream_retries_total')
    promiseHealthy(gateway, tally)
    return {
      what: `100 requests/s for ${seconds} s, an upstream ends after a third`,
      counts: `${tally.text()}; ${retries} sent again`,
      broken: tally.broken,
    }
  },
}
