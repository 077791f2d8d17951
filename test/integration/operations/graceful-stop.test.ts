import { once } from 'node:events'
import net from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { call } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { connect } from '../../support/wire.ts'

let upstream: Upstream
let answerSlow: (() => void)[] = []
beforeAll(async () => {
  upstream = await startUpstream(async (req, res) => {
    if (!req.url!.startsWith('/slow')) return false
    res.writeHead(200, { 'content-type': 'text/plain' }).write('first ')
    await new Promise<void>((resolve) => answerSlow.push(resolve))
    res.end('last')
    return true
  })
  new WebSocketServer({ server: upstream.server })
})
afterAll(() => upstream.close())

const start = async (): Promise<Gateway> => {
  answerSlow = []
  return startGateway({ routes: [{ name: 'all', match: { path: '/' }, upstream: [upstream.url], access: 'public', websocket: true }] })
}
const readiness = async (gateway: Gateway) => (await fetch(`${gateway.adminUrl}/readyz`)).status
const isRefused = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(false))
    socket.on('connect', () => socket.destroy())
    socket.on('error', () => resolve(true))
  })

it('stopping: not ready at once, what is in flight is finished, new connections are refused', async () => {
  const gateway = await start()
  expect(await readiness(gateway)).toBe(200)
  const inFlight = await connect(gateway.port)
  inFlight.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  await inFlight.receives('first ')
  const stopped = gateway.close()
  await until(async () => (await readiness(gateway)) === 503, 'readiness off')
  await until(() => isRefused(gateway.port), 'new connections to be refused')
  answerSlow[0]!()
  const text = await inFlight.closes()
  expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(text).toMatch(/last\r\n0\r\n\r\n$/)
  await stopped
})

it('an idle keep-alive connection does not hold it up', async () => {
  const gateway = await start()
  const idle = await connect(gateway.port)
  idle.write('GET /quick HTTP/1.1\r\nHost: a\r\n\r\n')
  await idle.receives('HTTP/1.1 200 OK')
  await gateway.close()
  await idle.closes()
})

it('a WebSocket is closed with 1001, going away', async () => {
  const gateway = await start()
  const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`)
  await once(ws, 'open')
  const closed = once(ws, 'close')
  await gateway.close()
  expect((await closed)[0]).toBe(1001)
})

it('with nothing in flight it is done at once', async () => {
  const gateway = await start()
  expect((await call(gateway, '/x')).status).toBe(200)
  await gateway.close()
  expect(await isRefused(gateway.port)).toBe(true)
})
