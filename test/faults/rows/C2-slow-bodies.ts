/** Clients that send a byte of their body now and then, to an upstream and to an own endpoint. */
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseClosed, REQUEST_TIMEOUT_SECONDS, runSlowClients } from '../harness/slow-clients.ts'

export const row: FaultRow = {
  id: 'C2',
  fault: 'Slow bodies: a few bytes every 5 s',
  promise: 'Connections are closed at the request timeout, and the upstream connections with them',
  run(options) {
    const tally = createTally()
    return runSlowClients(['body', 'login'], options, tally, (run, name) => promiseClosed(run, name, REQUEST_TIMEOUT_SECONDS, tally))
  },
}
