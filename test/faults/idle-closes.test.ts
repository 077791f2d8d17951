/** An upstream that closes its kept connections at random times, also while a request is on its way to it. */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { call } from '../support/client.ts'
import { route } from '../support/config.ts'
import { metric, startGateway } from '../support/gateway.ts'

const COUNT = 1500
const AT_ONCE = 20

/** Answers every request on a connection until the connection has been idle for 0 to 4 milliseconds; then it is closed or reset. */
async function startRestless() {
  const server = net.createServer((socket) => {
    let text = ''
    let idle: NodeJS.Timeout | undefined
    socket.on('error', () => {}).on('close', () => clearTimeout(idle))
    socket.on('data', (chunk) => {
      clearTimeout(idle)
      text += chunk.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        text = text.slice(end + 4)
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      }
      const draw = Math.random()
      idle = setTimeout(() => (draw < 0.3 ? socket.resetAndDestroy() : socket.end()), draw * 4)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() }
}

it(`${COUNT} GETs to an upstream that closes idle connections at random: none fails, and the upstream stays healthy`, async () => {
  const upstream = await startRestless()
  onTestFinished(() => void upstream.close())
  const gateway = await startGateway({ routes: [route('/', { upstream: [upstream.url] })] })
  onTestFinished(() => gateway.close())
  const statuses = new Map<number, number>()
  let left = COUNT
  async function client() {
    while (left-- > 0) {
      const { status } = await call(gateway, '/x')
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      await pause(Math.random() * 4)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, client))
  expect([...statuses]).toEqual([[200, COUNT]])
  expect(await metric(gateway, 'portcullis_upstream_breaker_state')).toBe(0)
})
