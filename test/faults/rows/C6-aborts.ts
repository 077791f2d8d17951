/** Clients that leave at any moment of a request or a response, beside clients that stay. */

import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { socketsSettle, startLoneGateway } from '../harness/lone-gateway.ts'
import { aborts } from '../storms/aborts.ts'
import { AT_ONCE, capacity } from '../storms/capacity.ts'
import { startStormUpstream } from '../storms/upstream.ts'

export const row: FaultRow = {
  id: 'C6',
  fault: 'Clients reset their connections at random bytes of requests and responses',
  promise: 'Upstream requests end too; no slot, socket or byte of another client is lost or mixed up',
  async run({ short, seed }) {
    const tally = createTally()
    const count = short ? 300 : 10_000
    const upstream = await startStormUpstream()
    atEnd(() => upstream.close())
    const gateway = await startLoneGateway({ routes: [route('/', { upstream: [upstream.url], timeouts: { headersMs: 60_000 } })] })
    // code is compiled, and pools have their size
    await aborts({ port: gateway.port, upstream, count: Math.ceil(count / 10), width: 64, seed: seed + 1 })
    await capacity(gateway.port, upstream)
    await until(() => upstream.sockets() === 0, 'the end of idle upstream connections', 20_000)
    const before = gateway.sockets()
    const started = performance.now()
    const { left, kept, broken } = await aborts({ port: gateway.port, upstream, count, width: 64, seed })
    const seconds = (performance.now() - started) / 1000
    await until(() => upstream.inFlight() === 0, 'the end of every upstream request', 20_000).catch(() => {})
    tally.promise(upstream.inFlight() === 0, `${upstream.inFlight()} requests are in flight at the upstream`)
    await until(() => upstream.sockets() === 0, 'the end of idle upstream connections', 20_000).catch(() => {})
    tally.promise(upstream.sockets() === 0, `${upstream.sockets()} connections to the upstream were left`)
    const slots = await capacity(gateway.port, upstream)
    tally.promise(slots === AT_ONCE, `of ${AT_ONCE} requests at a time ${slots} reach the upstream`)
    await until(() => upstream.sockets() === 0, 'the end of idle upstream connections', 20_000).catch(() => {})
    const after = await socketsSettle(gateway, before, 15_000)
    tally.promise(after <= before, `${after - before} sockets were left`)
    for (const line of [...broken, ...upstream.broken].slice(0, 5)) tally.promise(false, line)
    promiseHealthy(gateway, tally)
    return {
      what: `${left} aborts, 64 at a time, ${seconds.toFixed(0)} s`,
      counts: `${kept} responses to clients that stayed, ${upstream.aborted()} requests ended at the upstream, sockets ${before} → ${after}`,
      broken: tally.broken,
    }
  },
}
