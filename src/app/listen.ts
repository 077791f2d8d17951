/** The parts that every serving process needs, alone or as one of several. */
import { once } from 'node:events'
import type { Config } from '../platform/config/schema.ts'
import type { Logger, LogOutput } from '../platform/telemetry/logger.ts'
import type { App, GatewayOptions } from './app.ts'

export interface ServeOptions extends GatewayOptions {
  /** Where the logger writes. */
  output: LogOutput
}

export interface Running {
  /** The ports in use; a configured 0 was replaced by a free port. */
  port: number
  adminPort: number
  stop(): Promise<void>
}

/** Opens the public listeners. @returns the port */
export async function listen({ redirect, server }: App, { server: { host, port, tls } }: Config): Promise<number> {
  if (redirect) await once(redirect.listen(tls!.redirectPort, host), 'listening')
  return portOf(await server.listen({ host, port, backlog: 1024 }))
}

export const portOf = (address: string): number => Number(new URL(address).port)

/** Milliseconds that a stop may take before it is forced. */
export const graceMs = ({ server: { shutdownDelayMs, shutdownTimeoutMs } }: Config): number => shutdownDelayMs + shutdownTimeoutMs + 5000

export const logUncaught = (error: Error, logger: Logger): void =>
  logger.fatal({ reason: 'internal', err: { type: error.name, message: error.message, stack: error.stack } }, 'an uncaught error')
