/** The ports of the gateway: free, used by the running gateway, or taken by another program. */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Config } from '../../platform/config/schema.ts'
import { causeText } from '../../platform/lib/errors.ts'
import { ownerOfPort } from './port-owner.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf } from './row.ts'
import { localHost, type RunningGateway } from './running-gateway.ts'

interface Listener {
  setting: string
  host: string
  port: number
  /** Whether what listens there is our gateway. */
  isOurs(): Promise<boolean>
}

const TIMEOUT_MS = 2000

export function listenerRows(config: Config, gateway: RunningGateway | null): Promise<Row[]> {
  const { server, admin } = config
  const isUp = gateway !== null
  const listeners: Listener[] = [
    {
      setting: 'server.port',
      host: server.host,
      port: server.port,
      isOurs: async () => isUp && (isOwn(gateway, server.port) || (await isHealthy(server))),
    },
    ...(server.tls?.redirectPort === undefined
      ? []
      : [{ setting: 'server.tls.redirectPort', host: server.host, port: server.tls.redirectPort, isOurs: async () => isUp }]),
    { setting: 'admin.port', host: admin.host, port: admin.port, isOurs: async () => isUp },
  ]
  return Promise.all(listeners.map(async (listener) => rowOf(`port ${listener.port}`, await judge(listener, gateway))))
}

async function judge({ setting, host, port, isOurs }: Listener, gateway: RunningGateway | null): Promise<Finding> {
  if (port === 0) return notChecked(`${setting} 0 takes a free port at each start`)
  const error = await tryToListen(host, port)
  if (error === null)
    return gateway === null
      ? ok(`free, for ${setting}`)
      : fail(
          `the running gateway does not listen here, at ${setting}`,
          'give this command the configuration of the gateway, or restart the gateway',
        )
  switch (error.code) {
    case 'EADDRINUSE':
      return (await isOurs()) ? ok(`used by the running gateway${ownerText(port)}, for ${setting}`) : taken(setting, port)
    case 'EACCES':
      return fail(
        `this user may not listen on a port below 1024, at ${setting}`,
        `in the systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE; elsewhere: sudo sysctl net.ipv4.ip_unprivileged_port_start=${port}`,
      )
    case 'EADDRNOTAVAIL':
      return fail(
        `${host} is no address of this machine`,
        `set ${setting.replace(/[^.]+$/, 'host')} to an address of this machine, or to 0.0.0.0`,
      )
    default:
      return fail(`${setting}: ${causeText(error)}`, `correct ${setting.replace(/[^.]+$/, 'host')} and ${setting}`)
  }
}

const ownerText = (port: number): string => {
  const owner = ownerOfPort(port)
  return owner === null ? '' : ` (process ${owner.pid})`
}

function taken(setting: string, port: number): Finding {
  const owner = ownerOfPort(port)
  const by = owner === null ? 'another program' : `${owner.name} (process ${owner.pid})`
  const find = owner === null ? `find it: sudo ss -ltnp 'sport = :${port}'` : `stop it: kill ${owner.pid}`
  return fail(`taken by ${by}`, `${find}; or set ${setting} to another port`)
}

/** Listens for a moment, and serves nothing. @returns why it is not possible */
async function tryToListen(host: string, port: number): Promise<NodeJS.ErrnoException | null> {
  const server = net.createServer((socket) => socket.destroy())
  try {
    server.listen({ host, port, exclusive: true })
    await once(server, 'listening')
    return null
  } catch (error) {
    return error as NodeJS.ErrnoException
  } finally {
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
}

/** Before its first certificate, a gateway with ACME answers no request over TLS. */
const isOwn = ({ owner }: RunningGateway, port: number): boolean => owner !== null && ownerOfPort(port)?.pid === owner.pid

/** Asks for /health. The certificate is judged elsewhere. */
async function isHealthy({ host, port, tls }: Config['server']): Promise<boolean> {
  const url = `${tls ? 'https' : 'http'}://${localHost(host)}:${port}/health`
  const options = { agent: false, timeout: TIMEOUT_MS, signal: AbortSignal.timeout(TIMEOUT_MS) }
  const request = tls ? https.get(url, { ...options, rejectUnauthorized: false }) : http.get(url, options)
  try {
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    const text = (await response.setEncoding('utf8').toArray()).join('')
    return text.includes('"healthy"')
  } catch {
    return false
  }
}
