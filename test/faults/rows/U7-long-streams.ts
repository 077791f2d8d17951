/** Thousands of WebSockets and event streams: their tokens expire, and the gateway stops. */
import http, { type IncomingMessage } from 'node:http'
import WebSocket from 'ws'
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseNoComplaints } from '../harness/gateways.ts'
import { inPortions, socketsSettle, startLoneGateway } from '../harness/lone-gateway.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { startRowUpstream } from '../harness/upstream.ts'
import { startWebSocketUpstream } from '../harness/websocket-upstream.ts'

const EXPIRED = 4401
const STOPPING = 1001

export const row: FaultRow = {
  id: 'U7',
  fault: 'Thousands of WebSockets and event streams, tokens that expire, and a stop of the gateway',
  promise: 'WebSockets end with 4401 when their token expires, and with 1001 at a stop; nothing is left',
  async run({ short }) {
    const tally = createTally()
    const count = short ? 50 : 1000
    // the streams must be open before their token expires
    const accessTtlSeconds = short ? 15 : 60
    const sockets = await startWebSocketUpstream()
    const upstream = await startRowUpstream()
    const connections = { max: 5000, maxShare: 1 }
    const gateway = await startLoneGateway({
      routes: [
        route('/mine', { upstream: [sockets.url], websocket: true, access: 'authenticated', connections }),
        route('/ws', { upstream: [sockets.url], websocket: true, connections }),
        route('/events', { upstream: [upstream.url], connections }),
      ],
      config: { tokens: { accessTtlSeconds }, limits: { streams: 10_000 } },
    })
    const client = await newSessionClient(gateway.url)
    const before = gateway.sockets()
    const codes = new Map<string, number>()
    const ended = (kind: string, how: string | number) => codes.set(`${kind} ${how}`, (codes.get(`${kind} ${how}`) ?? 0) + 1)

    function webSocket(path: string, token?: string): Promise<void> {
      const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, token ? { headers: { authorization: `Bearer ${token}` } } : {})
      atEnd(() => socket.terminate())
      socket.on('close', (code) => ended(path, code))
      return new Promise((resolve, reject) => {
        socket.on('open', () => resolve())
        socket.on('error', reject)
      })
    }
    function eventStream(): Promise<void> {
      const request = http.get(`${gateway.url}/events`, { agent: false, headers: { accept: 'text/event-stream' } })
      atEnd(() => request.destroy())
      return new Promise((resolve, reject) => {
        request.on('error', reject)
        request.on('response', (response: IncomingMessage) => {
          response.resume()
          response.on('error', () => {})
          response.on('close', () => ended('/events', response.complete ? 'complete' : 'broken off'))
          resolve()
        })
      })
    }
    const started = performance.now()
    await inPortions(count, 50, () => webSocket('/mine', client.accessToken()))
    await inPortions(count, 50, () => webSocket('/ws'))
    await inPortions(count / 5, 50, eventStream)
    const most = gateway.sockets()
    await until(
      () => codes.get(`/mine ${EXPIRED}`) === count,
      'the end of streams whose token has expired',
      accessTtlSeconds * 1000 + 20_000,
    ).catch(() => {})
    const expired = codes.get(`/mine ${EXPIRED}`) ?? 0
    tally.promise(expired === count, `${expired} of ${count} WebSockets ended with ${EXPIRED} when their token expired`)
    const afterExpiry = await socketsSettle(gateway, before + 2 * count + (2 * count) / 5 + 20)
    tally.promise(afterExpiry <= before + 2 * count + (2 * count) / 5 + 20, `${afterExpiry} sockets after the expiry`)
    const stopping = performance.now()
    const exit = await gateway.stop()
    const stopSeconds = (performance.now() - stopping) / 1000
    await until(
      () => [...codes.values()].reduce((sum, n) => sum + n, 0) === 2 * count + count / 5,
      'the end of every stream',
      10_000,
    ).catch(() => {})
    tally.promise(exit === 0, `the gateway ended with ${exit}`)
    tally.promise(
      codes.get(`/ws ${STOPPING}`) === count,
      `${codes.get(`/ws ${STOPPING}`) ?? 0} of ${count} WebSockets ended with ${STOPPING}`,
    )
    tally.promise(codes.get('/events complete') === count / 5, 'an EventSource did not end as if complete')
    await until(() => sockets.open() === 0, 'the end of the WebSockets at the upstream', 5000).catch(() => {})
    tally.promise(sockets.open() === 0, `${sockets.open()} WebSockets are open at the upstream`)
    promiseNoComplaints(gateway, tally)
    const seconds = (performance.now() - started) / 1000
    return {
      what: `${2 * count} WebSockets and ${count / 5} event streams for ${seconds.toFixed(0)} s, then SIGTERM`,
      counts: `sockets ${before} → ${most} → ${afterExpiry} after the expiry; ${[...codes].map(([how, n]) => `${how}: ${n}`).join(', ')}; stopped in ${stopSeconds.toFixed(1)} s`,
      broken: tally.broken,
    }
  },
}
