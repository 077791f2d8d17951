/** A relay that ends with the row. */
import { type Relay, startRelay } from '../../support/relay.ts'
import { atEnd } from './cleanup.ts'

export async function startRowRelay(targetPort?: number): Promise<Relay> {
  const relay = await startRelay(targetPort)
  atEnd(relay.close)
  return relay
}
