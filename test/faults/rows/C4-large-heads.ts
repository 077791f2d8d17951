/** Header sections and targets that are far too large. */
import { raw, statusOf } from '../../support/client.ts'
import { route } from '../../support/config.ts'
import { quantile } from '../../support/quantile.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { normalClient, promiseNormal, startLoneGateway } from '../harness/lone-gateway.ts'
import { startRowUpstream } from '../harness/upstream.ts'

const head = (fields: string[], target = '/x') => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields.join('\r\n')}\r\n\r\n`
const many = (count: number, field: (n: number) => string) => Array.from({ length: count }, (_, n) => field(n))

const CASES: Record<string, string> = {
  'a header of 100 KiB': head([`X-Large: ${'x'.repeat(100 * 1024)}`]),
  'a header of 10 MiB': head([`X-Large: ${'x'.repeat(10 * 1024 * 1024)}`]),
  '300 headers': head(many(300, (n) => `X-${n}: ${n}`)),
  '20,000 headers': head(many(20_000, (n) => `X-${n}: ${n}`)),
  'a target of 9 KiB': head([], `/x?${'q'.repeat(9 * 1024)}`),
  'a target of 1 MiB': head([], `/x?${'q'.repeat(1024 * 1024)}`),
  'a method of 100 KiB': `${'M'.repeat(100 * 1024)} /x HTTP/1.1\r\nHost: a\r\n\r\n`,
  '10,000 cookies in one header': head([`Cookie: ${many(10_000, (n) => `c${n}=${n}`).join('; ')}`]),
  '10,000 headers with a cookie': head(many(10_000, (n) => `Cookie: c${n}=${n}`)),
  'a header section without an end': head([`X-Large: ${'x'.repeat(1024 * 1024)}`]).trimEnd(),
}
const REFUSALS = [400, 405, 414, 431, 501]
const MOST_MS = 20
const LONGEST_LOG_LINE = 16 * 1024

export const row: FaultRow = {
  id: 'C4',
  fault: 'Huge headers, many headers, long targets, 10,000 cookies',
  promise: 'Refused at once with 400, 414 or 431; the connection is closed, and the upstream sees nothing',
  isQuick: true,
  async run({ short }) {
    const tally = createTally()
    const arrived = { normal: 0, others: 0 }
    const upstream = await startRowUpstream((req) => {
      arrived[req.url!.startsWith('/normal') ? 'normal' : 'others']++
      return false
    })
    const gateway = await startLoneGateway({
      routes: [route('/', { upstream: [upstream.url] }), route('/normal', { upstream: [upstream.url] })],
      config: { log: { path: true } },
    })
    const rounds = short ? 20 : 100
    const normal = normalClient(`${gateway.url}/normal`, 50, tally)
    const times: number[] = []
    const started = performance.now()
    for (let n = 0; n < rounds; n++)
      for (const [name, bytes] of Object.entries(CASES)) {
        const began = performance.now()
        const text = await raw(gateway.port, bytes).catch((error: Error) => error.message)
        times.push(performance.now() - began)
        // a reset may overtake the answer while the client is still sending
        const status = text === '' ? 'reset' : statusOf(text)
        tally.add(`${status}`)
        if (status !== 'reset') tally.promise(REFUSALS.includes(status as number), `${name}: ${text.slice(0, 80)}`)
      }
    const seconds = (performance.now() - started) / 1000
    await normal.stop()
    promiseNormal(tally)
    tally.promise(arrived.normal > 0, 'the upstream got no normal request')
    tally.promise(arrived.others === 0, `the upstream got ${arrived.others} of the requests`)
    const p50 = quantile(times, 0.5)
    // a test asserts no times
    tally.promise(short || p50 < MOST_MS, `the median time to the refusal was ${p50.toFixed(0)} ms`)
    const longest = Math.max(
      ...gateway
        .log()
        .split('\n')
        .map((line) => line.length),
    )
    tally.promise(longest <= LONGEST_LOG_LINE, `a log line has ${longest} characters`)
    tally.promise(tally.get('reset') < times.length / 2, 'most refusals did not reach the client')
    promiseHealthy(gateway, tally)
    return {
      what: `${Object.keys(CASES).length} kinds, ${rounds} times each, in ${seconds.toFixed(0)} s beside a normal client`,
      counts: `${tally.text()}; median ${p50.toFixed(1)} ms; longest log line ${longest} characters`,
      broken: tally.broken,
    }
  },
}
