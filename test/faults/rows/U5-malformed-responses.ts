/** Responses as no upstream should send them, on connections that others share. */
import { route } from '../../support/config.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'
import { malformedAnswers, startBadUpstream } from '../storms/malformed-answers.ts'

export const row: FaultRow = {
  id: 'U5',
  fault: 'Malformed responses: status lines, lengths, folded headers, floods of 1xx, 10 MB of headers, NUL',
  promise: '502 or a broken transfer; no header is injected; the next request gets its own answer',
  async run({ short, seed }) {
    const tally = createTally()
    const upstream = await startBadUpstream()
    atEnd(() => upstream.close())
    const timeouts = { headersMs: 1000, idleMs: 1000 }
    const gateway = await startLoneGateway({
      routes: [
        route('/bad', { upstream: [upstream.url], timeouts, breaker: { failures: 0 } }),
        route('/good', { upstream: [upstream.url], breaker: { failures: 0 } }),
      ],
    })
    const started = performance.now()
    const result = await malformedAnswers({ port: gateway.port, count: short ? 100 : 3000, width: 16, seed })
    const seconds = (performance.now() - started) / 1000
    tally.broken.push(...result.broken)
    promiseHealthy(gateway, tally)
    return {
      what: `${result.sent} malformed responses in ${seconds.toFixed(0)} s, each followed by a normal request`,
      counts: `${result.refused} refused, ${result.brokenOff} broken off, ${result.whole} passed as what they were`,
      broken: tally.broken,
    }
  },
}
