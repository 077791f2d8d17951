/** Certificates from an ACME server, with a real one: pebble. */
import { once } from 'node:events'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { type Gateway, type GatewayOptions, metric, startGateway } from '../../support/gateway.ts'
import { PEBBLE, type Pebble, startPebble } from '../../support/pebble.ts'
import { freePort, until } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

describeWith(PEBBLE, 'http-01', () => {
  let authority: Authority
  let pebble: Pebble
  let httpPort: number
  let tlsPort: number

  beforeAll(async () => {
    authority = await createAuthority('Pebble CA')
    httpPort = await freePort()
    tlsPort = await freePort()
    pebble = await startPebble({ authority, httpPort, tlsPort })
  })
  afterAll(async () => {
    await pebble?.close()
    authority?.close()
  })

  async function start(acme: object, options: GatewayOptions = {}): Promise<Gateway> {
    const gateway = await startGateway({
      ...options,
      port: tlsPort,
      config: {
        server: {
          publicUrl: 'https://api.example.com',
          tls: {
            acme: { domains: ['api.example.com'], termsOfServiceAgreed: true, directoryUrl: pebble.directoryUrl, ca: pebble.ca, ...acme },
            reloadSeconds: 1,
            redirectPort: 0,
          },
        },
      },
    })
    gateway.app.redirect!.listen(httpPort, '127.0.0.1')
    await once(gateway.app.redirect!, 'listening')
    return gateway
  }

  it('a gateway without a certificate gets one', async () => {
    const gateway = await start({})
    await until(async () => (await metric(gateway, 'portcullis_tls_certificate_expiry_timestamp_seconds')) > 0, 'the certificate').catch(
      (e) => {
        console.log(gateway.log(), pebble.output())
        throw e
      },
    )
    const socket = tls.connect({ host: '127.0.0.1', port: tlsPort, servername: 'api.example.com', ca: await pebble.root() })
    await once(socket, 'secureConnect')
    expect(socket.getPeerCertificate().subjectaltname).toBe('DNS:api.example.com')
    socket.destroy()
    console.log(gateway.log())
    await gateway.close()
  })
})
