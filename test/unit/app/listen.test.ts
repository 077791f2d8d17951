import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { expect, it } from 'vitest'
import { listenAdmin, takeAddress } from '../../../src/app/listen.ts'
import { configWith } from '../../support/config.ts'

const failing = (code: string) => async (): Promise<never> => {
  throw Object.assign(new Error(`listen ${code}`), { code })
}

it('a port in use names the setting, and the way to change it', async () => {
  const owner = net.createServer().listen(0, '127.0.0.1')
  await once(owner, 'listening')
  const { port } = owner.address() as AddressInfo
  try {
    await expect(listenAdmin(Fastify(), configWith({ admin: { port } }))).rejects.toThrow(
      `admin.port ${port} is in use; set admin.port, for example with --set admin.port=N, to another`,
    )
  } finally {
    owner.close()
  }
})

it.each([
  ['EADDRINUSE', 'port', 'server.port 80 is in use; set server.port or --port to another'],
  [
    'EADDRINUSE',
    'tls.redirectPort',
    'server.tls.redirectPort 80 is in use; set server.tls.redirectPort, for example with --set server.tls.redirectPort=N, to another',
  ],
  [
    'EACCES',
    'port',
    'server.port 80 may not be opened by this user; set server.port or --port to 1024 or more, or give the process CAP_NET_BIND_SERVICE',
  ],
  [
    'EADDRNOTAVAIL',
    'port',
    'server.host 192.0.2.1 is not an address of this machine; set it to 127.0.0.1, or to 0.0.0.0 for all addresses',
  ],
  ['EMFILE', 'port', 'listen EMFILE'],
])('%s at %s', async (code, portKey, text) => {
  await expect(takeAddress('server', { host: '192.0.2.1', port: 80, portKey }, failing(code))).rejects.toHaveProperty('message', text)
})
