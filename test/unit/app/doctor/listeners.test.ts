import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { listenerRows } from '../../../../src/app/doctor/listeners.ts'
import { configWith } from '../../../support/config.ts'

const servers: net.Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

it.each([
  [
    'the running gateway, which has no certificate yet',
    process.pid,
    'ok',
    /^used by the running gateway \(process \d+\), for server\.port$/,
  ],
  ['another program', 1, 'fail', /^taken by /],
])('a port that answers no request over TLS is taken by %s', async (_, pid, state, found) => {
  const server = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const acme = { domains: ['api.example.com'], termsOfServiceAgreed: true }
  const config = configWith({
    server: { publicUrl: 'https://api.example.com', host: '127.0.0.1', port, tls: { acme } },
    admin: { port: 0 },
  })
  const gateway = { isReady: true, failing: ['certificate'], version: null, owner: { pid, name: 'node' } }
  const [row] = await listenerRows(config, gateway)
  expect(row).toMatchObject({ check: `port ${port}`, state, found: expect.stringMatching(found) })
})
