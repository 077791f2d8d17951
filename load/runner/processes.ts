/** Processes of a measurement: free ports, readiness, a clean end. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 30_000

/** All ports are held until the last is found, so they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

/** @param isGivenUp asked between tries; if true, the function resolves at once */
export async function waitUntilReady(gateway: ChildProcess, adminUrl: string, isGivenUp = () => false): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  while (Date.now() < deadline) {
    if (hasEnded(gateway)) throw new Error('the gateway ended while it was starting')
    if (isGivenUp()) return
    const answer = await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(1000) }).catch(() => null)
    if (answer?.ok) return
    await sleep(100)
  }
  throw new Error(`the gateway was not ready within ${START_TIMEOUT_MS / 1000} s`)
}

export const hasEnded = ({ exitCode, signalCode }: ChildProcess) => exitCode !== null || signalCode !== null

export async function stop(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await ended
  clearTimeout(timer)
}
