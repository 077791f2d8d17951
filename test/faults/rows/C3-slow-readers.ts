/** Clients that read a few bytes a second of a response of 4 MiB. */
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { runSlowClients } from '../harness/slow-clients.ts'

/** Buffers of a connection: 64 KiB on either side of the gateway. */
const MOST_KIB_EACH = 64

export const row: FaultRow = {
  id: 'C3',
  fault: 'Slow readers: 32 bytes every 5 s of a response of 4 MiB',
  promise: 'Responses are not buffered: memory grows by at most 64 KiB a connection, and the connections end',
  run(options) {
    const tally = createTally()
    return runSlowClients(['read'], options, tally, ({ clients, beside, rssBeforeMiB }, name) => {
      const grownKiB = ((beside.peakRssMiB - rssBeforeMiB) * 1024) / clients
      tally.promise(grownKiB <= MOST_KIB_EACH, `${name}: RSS grew by ${grownKiB.toFixed(0)} KiB a connection`)
    })
  },
}
