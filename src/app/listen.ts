/** The parts that every serving process needs, alone or as one of several. */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../platform/config/schema.ts'
import type { LogOutput } from '../platform/telemetry/log-output.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { App, GatewayOptions } from './app.ts'
import type { ReloadCause, ReloadResult } from './reload.ts'

export interface ServeOptions extends GatewayOptions {
  /** Where the logger writes. */
  output: LogOutput
  /** Is called with the services of a gateway of one process before it listens. What it opened is closed first at a stop. */
  withServices?: ((services: Pick<App, 'platform' | 'identity'>) => Promise<{ close(): Promise<void> }>) | undefined
}

export interface Running {
  /** The ports in use; a configured 0 was replaced by a free port. */
  port: number
  adminPort: number
  stop(): Promise<void>
  /** Reads the configuration again. Does not fail. */
  reload(cause: ReloadCause): Promise<ReloadResult>
}

/** An address cannot be listened on. */
export class AddressError extends Error {
  readonly what: string
  /** What would be right. */
  readonly hint: string
  constructor(what: string, hint: string) {
    super(`${what}; ${hint}`)
    this.what = what
    this.hint = hint
  }
}

/** Runs `open`. @throws AddressError, which names the setting and what to do, when the address cannot be taken */
export async function takeAddress<T>(
  section: string,
  { host, port, portKey = 'port' }: { host: string; port: number; portKey?: string },
  open: () => Promise<T>,
): Promise<T> {
  const key = `${section}.${portKey}`
  const change = key === 'server.port' ? 'set server.port or --port' : `set ${key}, for example with --set ${key}=N,`
  try {
    return await open()
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'EADDRINUSE':
        throw new AddressError(`${key} ${port} is in use`, `${change} to another`)
      case 'EACCES':
        throw new AddressError(
          `${key} ${port} may not be opened by this user`,
          `${change} to 1024 or more, or give the process CAP_NET_BIND_SERVICE`,
        )
      case 'EADDRNOTAVAIL':
      case 'ENOTFOUND':
        throw new AddressError(
          `${section}.host ${host} is not an address of this machine`,
          'set it to 127.0.0.1, or to 0.0.0.0 for all addresses',
        )
      default:
        throw error
    }
  }
}

/** Opens the admin listener. @returns the port */
export const listenAdmin = async (admin: FastifyInstance, { admin: address }: Config): Promise<number> =>
  portOf(await takeAddress('admin', address, () => admin.listen({ host: address.host, port: address.port })))

/** Opens the public listeners. @returns the port */
export async function listen({ redirect, server }: App, { server: { host, port, tls } }: Config): Promise<number> {
  if (redirect) {
    const redirectPort = tls!.redirectPort!
    const address = { host, port: redirectPort, portKey: 'tls.redirectPort' }
    await takeAddress('server', address, () => once(redirect.listen(redirectPort, host), 'listening'))
  }
  return portOf(await takeAddress('server', { host, port }, () => server.listen({ host, port })))
}

const portOf = (address: string): number => Number(new URL(address).port)

/** Milliseconds that a stop may take before it is forced. */
export const graceMs = ({ server: { shutdownDelayMs, shutdownTimeoutMs } }: Config): number => shutdownDelayMs + shutdownTimeoutMs + 5000

export const logUncaught = (error: Error, logger: Logger): void =>
  logger.fatal({ reason: 'internal', err: { type: error.name, message: error.message, stack: error.stack } }, 'an uncaught error')
