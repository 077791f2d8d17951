/** More connections than `server.maxConnections`. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { highest, inPortions, normalClient, promiseNormal, socketsSettle, startLoneGateway } from '../harness/lone-gateway.ts'
import { startRowUpstream } from '../harness/upstream.ts'

export const row: FaultRow = {
  id: 'C7',
  fault: 'A flood of connections above server.maxConnections',
  promise: 'Connections above the limit are refused; existing connections go on; it recovers',
  async run({ short }) {
    const tally = createTally()
    const flood = short ? 500 : 10_000
    const maxConnections = short ? 100 : 1000
    const upstream = await startRowUpstream()
    const gateway = await startLoneGateway({
      routes: [route('/', { upstream: [upstream.url] })],
      config: { server: { maxConnections } },
    })
    const normal = normalClient(`${gateway.url}/x`, 50, tally, 2)
    // its connections exist before the flood
    await until(() => tally.get('normal requests: ok') >= 20, 'the normal client')
    const before = gateway.sockets()
    const mostFds = highest(() => gateway.sockets())
    let open = 0
    const sockets = new Set<Socket>()
    atEnd(() => sockets.forEach((socket) => void socket.destroy()))
    const started = performance.now()
    await inPortions(flood, 200, async () => {
      const socket = net.connect(gateway.port, '127.0.0.1')
      sockets.add(socket)
      open++
      socket.on('error', () => {})
      socket.on('close', () => {
        open--
        sockets.delete(socket)
      })
      await Promise.race([once(socket, 'connect'), once(socket, 'close')])
    })
    await until(() => open <= maxConnections, 'the refusal of the connections above the limit', 15_000).catch(() => {})
    const held = open
    const seconds = (performance.now() - started) / 1000
    for (const socket of sockets) socket.destroy()
    const most = mostFds()
    const after = await socketsSettle(gateway, before + 20)
    await normal.stop()
    promiseNormal(tally)
    const refused = await gateway.metric('portcullis_connections_refused_total')
    const { status } = await ask(`${gateway.url}/x`)
    tally.promise(held <= maxConnections, `${held} connections were held above the limit of ${maxConnections}`)
    tally.promise(refused >= flood - maxConnections, `only ${refused} connections were refused`)
    tally.promise(most <= before + maxConnections + 200, `${most} sockets at one time`)
    tally.promise(after <= before + 20, `${after - before} sockets were left`)
    tally.promise(status === 200, `a new client got ${status} after the flood`)
    promiseHealthy(gateway, tally)
    return {
      what: `${flood} connections in ${seconds.toFixed(0)} s, a limit of ${maxConnections}`,
      counts: `${held} held, ${refused} refused; sockets ${before} → at most ${most} → ${after}; ${tally.text()}`,
      broken: tally.broken,
    }
  },
}
