/** Clients that send a byte of their header section now and then (slowloris). */
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { HEADERS_TIMEOUT_SECONDS, promiseClosed, runSlowClients } from '../harness/slow-clients.ts'

export const row: FaultRow = {
  id: 'C1',
  fault: 'Slow header sections: a few bytes every 5 s',
  promise: 'Connections are closed at the headers timeout; normal clients are served',
  run(options) {
    const tally = createTally()
    return runSlowClients(['headers'], options, tally, (run, name) => promiseClosed(run, name, HEADERS_TIMEOUT_SECONDS, tally))
  },
}
