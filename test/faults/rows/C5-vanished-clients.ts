/** Clients that vanish: their sockets stay open, and nothing is sent, read or closed any more. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { route } from '../../support/config.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { inPortions, normalClient, promiseNormal, socketsSettle, startLoneGateway } from '../harness/lone-gateway.ts'
import { startRowUpstream } from '../harness/upstream.ts'
import { startWebSocketUpstream } from '../harness/websocket-upstream.ts'

const IDLE_SECONDS = 5
/** Until the buffers of all streams are full, on a busy machine. */
const LATE_MS = 50_000
const BIG = Buffer.alloc(16 * 1024 * 1024, 'x')
const HANDSHAKE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='

/** What each kind sends before it vanishes, and what it waits for. */
const KINDS: Record<string, { bytes: string; isSilent?: boolean }> = {
  'without a request': { bytes: '', isSilent: true },
  'half a header section': { bytes: 'GET /x HTTP/1.1\r\nHost: a\r\nX-Half: ', isSilent: true },
  'half a body': { bytes: 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf', isSilent: true },
  'idle after a response': { bytes: 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n' },
  'within a large response': { bytes: 'GET /big HTTP/1.1\r\nHost: a\r\n\r\n' },
  'within an event stream': { bytes: 'GET /firehose HTTP/1.1\r\nHost: a\r\n\r\n' },
  'on a WebSocket': { bytes: `GET /ws HTTP/1.1\r\nHost: a\r\n${HANDSHAKE}\r\n\r\n` },
}

export const row: FaultRow = {
  id: 'C5',
  fault: 'Clients vanish without a FIN: idle, within a request, a response, an event stream, a WebSocket',
  promise: 'Every connection is gone within its timeouts, and descriptors return to where they were',
  async run({ short }) {
    const tally = createTally()
    const count = short ? 210 : 4900
    const upstream = await startRowUpstream((req, res) => {
      if (req.url === '/big') res.end(BIG)
      else if (req.url === '/firehose') {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        const event = `data: ${'x'.repeat(64 * 1024)}\n\n`
        const timer = setInterval(() => res.writableNeedDrain || res.write(event), 50)
        res.on('close', () => clearInterval(timer))
      } else return false
      return true
    })
    const sockets = await startWebSocketUpstream()
    const timeouts = { idleMs: IDLE_SECONDS * 1000 }
    const connections = { max: 8000, maxShare: 1 }
    const gateway = await startLoneGateway({
      routes: [
        route('/', { upstream: [upstream.url], timeouts, connections }),
        route('/normal', { upstream: [upstream.url] }),
        route('/ws', { upstream: [sockets.url], websocket: true, timeouts, connections }),
      ],
      config: {
        server: { headersTimeoutMs: IDLE_SECONDS * 1000, keepAliveTimeoutMs: IDLE_SECONDS * 1000 },
        limits: { streams: 10_000 },
      },
    })
    const rssBefore = gateway.rssMiB()
    const before = gateway.sockets()
    const normal = normalClient(`${gateway.url}/normal`, 20, tally)
    const clients: Socket[] = []
    atEnd(() => clients.forEach((socket) => void socket.destroy()))
    const kinds = Object.values(KINDS)
    await inPortions(count, 100, async (index) => {
      const { bytes, isSilent } = kinds[index % kinds.length]!
      const socket = net.connect(gateway.port, '127.0.0.1')
      clients.push(socket)
      socket.on('error', () => {})
      await once(socket, 'connect')
      if (bytes) socket.write(bytes)
      if (!isSilent) await once(socket, 'data')
      socket.pause()
    })
    const most = gateway.sockets()
    const vanishedAt = performance.now()
    await pause(IDLE_SECONDS * 2000)
    await normal.stop()
    // a WebSocket is pinged after idleMs, and ends after the same time again. A stream ends idleMs after the buffers of its socket are full
    const after = await socketsSettle(gateway, Math.ceil(before * 1.01) + 2, LATE_MS)
    const seconds = (performance.now() - vanishedAt) / 1000
    const rssMost = gateway.rssMiB()
    promiseNormal(tally)
    tally.promise(most >= before + count * 0.9, `only ${most - before} connections were held`)
    tally.promise(after <= before * 1.01 + 2, `${after - before} sockets were left after ${seconds.toFixed(0)} s`)
    tally.promise(sockets.open() === 0, `${sockets.open()} WebSockets are open at the upstream`)
    promiseHealthy(gateway, tally)
    return {
      what: `${count} clients of ${kinds.length} kinds vanish; timeouts of ${IDLE_SECONDS} s`,
      counts: `sockets ${before} → ${most} → ${after} in ${seconds.toFixed(0)} s; RSS ${rssBefore} → ${rssMost} MiB; ${tally.text()}`,
      broken: tally.broken,
    }
  },
}
