/** Collects the garbage of processes that run with `--inspect=127.0.0.1:0`: what is left of their memory is in use. */
import { once } from 'node:events'
import { descendantsOf } from './cleanup.ts'
import type { FaultGateway } from './gateways.ts'

export const INSPECTED = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** @returns how many processes have collected their garbage */
export async function collectGarbage(gateway: FaultGateway): Promise<number> {
  const addresses = new Set([...gateway.log().matchAll(/^Debugger listening on (ws:\S+)$/gm)].map(([, address]) => address!))
  const newest = [...addresses].slice(-2 * (1 + descendantsOf(gateway.pid()).length))
  const done = await Promise.all(newest.map((address) => collect(address).catch(() => false)))
  return done.filter(Boolean).length
}

async function collect(address: string): Promise<boolean> {
  const socket = new WebSocket(address)
  const failed = once(socket, 'error').then(() => false)
  const opened = once(socket, 'open').then(() => true)
  if (!(await Promise.race([opened, failed]))) return false
  // twice: finalizers of the first collection release objects for the second
  for (const id of [1, 2]) {
    socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }))
    await once(socket, 'message')
  }
  socket.close()
  return true
}
