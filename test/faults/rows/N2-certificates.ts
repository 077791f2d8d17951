/** The gateway's certificate is replaced under load; upstreams show certificates that do not count. */
import { once } from 'node:events'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { createAuthority, type Issued } from '../../support/certificates.ts'
import { route } from '../../support/config.ts'
import { until } from '../../support/processes.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { ask } from '../harness/http.ts'
import { openLoop } from '../harness/load.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'

async function startTlsUpstream({ cert, key }: Issued): Promise<string> {
  const server = https.createServer({ cert, key }, (_req, res) => res.end('ok'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(() => {
    server.closeAllConnections()
    server.close()
  })
  return `https://localhost:${(server.address() as AddressInfo).port}`
}

const serialOf = (port: number) =>
  new Promise<string>((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.on('error', reject)
  })

export const row: FaultRow = {
  id: 'N2',
  fault: 'The certificate of the gateway is replaced under load; upstreams have a certificate of another name or of an unknown CA',
  promise: 'No request fails while certificates change; a bad upstream certificate is 502, and nothing is sent in the clear',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 30, 8)
    const [authority, stranger] = [await createAuthority(), await createAuthority('Another CA')]
    for (const each of [authority, stranger]) atEnd(each.close)
    const own = await authority.issue(['localhost'])
    const good = await startTlsUpstream(await authority.issue(['localhost']))
    const otherName = await startTlsUpstream(await authority.issue(['elsewhere.example']))
    const unknownCa = await startTlsUpstream(await stranger.issue(['localhost']))
    const to = (path: string, url: string) =>
      route(path, { upstream: [{ url, tls: { ca: authority.certFile } }], breaker: { failures: 0 } })
    const gateway = await startLoneGateway({
      routes: [to('/good', good), to('/name', otherName), to('/ca', unknownCa)],
      config: { server: { tls: { cert: own.certFile, key: own.keyFile, reloadSeconds: 1 } } },
    })
    const agent = new https.Agent({ keepAlive: false, rejectUnauthorized: false })
    const get = (path: string) =>
      new Promise<string>((resolve) => {
        const request = https.get({ port: gateway.port, host: '127.0.0.1', path, agent, timeout: 10_000 }, (res) => {
          res.resume()
          res.on('end', () => resolve(String(res.statusCode)))
        })
        request.on('timeout', () => request.destroy(new Error('timeout')))
        request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      })
    const load = openLoop(30, async () => tally.add(`good: ${await get('/good')}`))
    const serials = new Set([await serialOf(gateway.port)])
    const end = performance.now() + seconds * 1000
    let replaced = 0
    while (performance.now() < end) {
      await authority.replace(own, ['localhost'])
      replaced++
      const isNew = async () => !serials.has(await serialOf(gateway.port))
      await until(isNew, 'the new certificate', 15_000).catch((error) => tally.promise(false, String(error)))
      serials.add(await serialOf(gateway.port))
      await pause(200)
    }
    await load.stop()
    for (const path of ['/name', '/ca']) {
      const status = await get(path)
      tally.add(`${path}: ${status}`)
      tally.promise(status === '502', `an upstream certificate that does not count (${path}) was answered with ${status}`)
    }
    const failures = tally.sum('good: ') - tally.get('good: 200')
    tally.promise(failures === 0, `${failures} requests failed while certificates were replaced`)
    const plain = await ask(`${gateway.url}/good`, { timeoutMs: 5000 }).then(
      ({ status }) => status,
      () => 0,
    )
    tally.promise(plain === 0 || plain >= 300, `plain HTTP was answered with ${plain}`)
    promiseHealthy(gateway, tally)
    return { what: `${replaced} certificates in ${seconds} s, 30 new connections/s`, counts: tally.text(), broken: tally.broken }
  },
}
