/** Gateways whose certificate comes from pebble, and TLS clients that look at it. */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import tls, { type PeerCertificate, type TLSSocket } from 'node:tls'
import { type Gateway, type GatewayOptions, metric, startGateway } from './gateway.ts'
import type { Pebble } from './pebble.ts'
import { until } from './processes.ts'

export const DOMAIN = 'api.example.com'

export interface AcmeGateway extends Gateway {
  /** Of its plain listener. */
  httpPort: number
  /** Reads the configuration again with these settings of ACME. */
  reloadAcme(acme: object): ReturnType<Gateway['reload']>
}

export interface AcmeGatewayOptions extends Omit<GatewayOptions, 'config'> {
  /** Over the defaults of the test. */
  acme?: object
  server?: object
}

export async function startAcmeGateway(
  pebble: Pick<Pebble, 'directoryUrl' | 'ca'>,
  { acme = {}, server = {}, ...options }: AcmeGatewayOptions = {},
): Promise<AcmeGateway> {
  const configWith = (changed: object) => ({
    server: {
      publicUrl: `https://${DOMAIN}`,
      ...server,
      tls: {
        acme: {
          domains: [DOMAIN],
          termsOfServiceAgreed: true,
          directoryUrl: pebble.directoryUrl,
          ca: pebble.ca,
          ...acme,
          ...changed,
        },
        reloadSeconds: 1,
        redirectPort: 0,
      },
    },
  })
  const gateway = await startGateway({ ...options, config: configWith({}) })
  const redirect = gateway.app.redirect!
  await once(redirect.listen(0, '127.0.0.1'), 'listening')
  return {
    ...gateway,
    httpPort: (redirect.address() as AddressInfo).port,
    reloadAcme: (changed) => gateway.reload({ config: configWith(changed), ...(options.routes && { routes: options.routes }) }),
  }
}

export const orders = (gateway: Gateway, outcome: string) => metric(gateway, 'portcullis_acme_orders_total', { outcome })
export const answers = (gateway: Gateway) => metric(gateway, 'portcullis_acme_challenge_answers_total')

/** The certificate that a client gets. @throws when the handshake fails, with its cause */
export async function certificateOf(port: number, options: tls.ConnectionOptions = {}): Promise<PeerCertificate> {
  const socket = await handshake(port, options)
  const certificate = socket.getPeerCertificate()
  // the handshake is whole for the server, too
  socket.end().resume()
  return certificate
}

export async function handshake(port: number, options: tls.ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = tls.connect({ host: '127.0.0.1', port, servername: DOMAIN, rejectUnauthorized: false, ...options })
  try {
    await once(socket, 'secureConnect')
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** Until the listener has a certificate, another one than this. */
export const certificateAfter = (port: number, before: PeerCertificate | null, timeoutMs = 30_000): Promise<PeerCertificate> =>
  until(
    async () => {
      const found = await certificateOf(port)
      return found.serialNumber !== before?.serialNumber && found
    },
    'another certificate',
    timeoutMs,
  )

export async function getPlain(port: number, path: string, headers: http.OutgoingHttpHeaders = {}) {
  const request = http.get({ host: '127.0.0.1', port, path, agent: false, headers: { host: DOMAIN, ...headers } })
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  const text = Buffer.concat(await answer.toArray()).toString()
  return { status: answer.statusCode!, headers: answer.headers, text }
}
