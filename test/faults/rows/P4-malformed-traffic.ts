import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'
import { malformedAnswers, startBadUpstream } from '../storms/malformed-answers.ts'
import { malformedRequests } from '../storms/malformed-requests.ts'
import { startStormUpstream } from '../storms/upstream.ts'

export const row: FaultRow = {
  id: 'P4',
  fault: 'malformed requests, and malformed answers of upstreams',
  promise: 'no process ends, no error is uncaught, and normal requests beside them pass',
  async run(options) {
    const [requests, answers] = options.short ? [2000, 100] : [100_000, 1000]
    const tally = createTally()
    const storm = await startStormUpstream()
    atEnd(() => storm.close())
    const bad = await startBadUpstream()
    atEnd(() => bad.close())
    const to = (name: string, upstream: string, more: object = {}) => ({
      name,
      match: { path: `/${name}` },
      upstream: [upstream],
      access: 'public',
      ...more,
    })
    const { gateways, clients } = await startSetting({
      gateways: 1,
      workers: 2,
      clients: 4,
      routes: (url) => [
        { name: 'api', match: { path: '/api' }, upstream: [url], access: 'authenticated' },
        to('echo', storm.url, { timeouts: { headersMs: 60_000 } }),
        to('ws', storm.url, { websocket: true }),
        ...['bad', 'good'].map((name) => to(name, bad.url, { timeouts: { headersMs: 1000, idleMs: 1000 }, breaker: { failures: 0 } })),
      ],
    })
    const [gateway] = gateways as [(typeof gateways)[0]]
    const proxied = proxiedTraffic([gateway.url], 50, { tokenOf: tokensOf(clients) })
    const begun = performance.now()
    const end = begun + (options.seconds ?? 0) * 1000
    let seed = options.seed
    do {
      const sent = await malformedRequests({ port: gateway.port, count: requests, width: 64, seed })
      tally.add('malformed requests', sent.sent)
      tally.add('of them answered', sent.answered)
      const received = await malformedAnswers({ port: gateway.port, count: answers, width: 16, seed })
      tally.add('malformed answers', received.sent)
      tally.add('of them refused', received.refused)
      tally.add('broken off', received.brokenOff)
      tally.broken.push(...sent.broken, ...received.broken, ...storm.broken.splice(0))
      seed++
    } while (performance.now() < end)
    await pause(500)
    await proxied.stop()
    promiseAllOk(tally, 'normal requests', proxied.samples)
    await checkGateways(tally, gateways)
    return resultOf(
      `1 gateway with 2 workers; ${Math.round((performance.now() - begun) / 1000)} s`,
      [countSamples('normal requests', proxied.samples)],
      tally,
    )
  },
}
