/** Collects the garbage of processes that run with `--inspect=127.0.0.1:0`: what is left of their memory is in use. */
import { collectGarbageAt } from '../../support/inspector.ts'
import { descendantsOf } from '../../support/proc.ts'
import type { FaultGateway } from './gateways.ts'

export const INSPECTED = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** @returns how many processes have collected their garbage */
export async function collectGarbage(gateway: FaultGateway): Promise<number> {
  const addresses = new Set([...gateway.log().matchAll(/^Debugger listening on (ws:\S+)$/gm)].map(([, address]) => address!))
  const newest = [...addresses].slice(-2 * (1 + descendantsOf(gateway.pid()).length))
  const ends = await Promise.allSettled(newest.map(collectGarbageAt))
  return ends.filter(({ status }) => status === 'fulfilled').length
}
