import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../support/processes.ts'
import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause, skipped } from '../harness/fault-row.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, promiseAllRefresh, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'

const DISK_MIB = 320
const PIECE = Buffer.alloc(1024 * 1024)

export const row: FaultRow = {
  id: 'D7',
  fault: "the disk of Postgres is full; another gateway's log goes to a full disk",
  promise: 'accounts get 503, requests with a token pass, nothing is half written, and all recovers with the space',
  async run(options) {
    const seconds = lengthOf(options, 15, 4)
    if (process.getuid?.() !== 0) return skipped('a small file system needs root')
    const tally = createTally()
    const { stores, gateways, balancer, clients, successors } = await startSetting({
      stores: { diskMiB: DISK_MIB, settings: ['max_wal_size=64MB', 'min_wal_size=32MB', 'wal_keep_size=0'] },
      workers: options.short ? 1 : 2,
      clients: 20,
      // each line fails with ENOSPC
      each: (i) => (i === 1 ? { logTo: '/dev/full' } : {}),
    })
    const users = clients.splice(0, 4)
    const begun = performance.now()
    const proxied = proxiedTraffic([balancer.url], options.short ? 20 : 100, { tokenOf: tokensOf(users) })
    const refreshes = refreshTraffic(clients, options.short ? 20 : 50)
    await pause(1500)
    const filler = join(stores.postgres.dataDir, '../filler')
    const filled = fill(filler)
    const failed = await until(() => refreshes.samples.some(({ isOk, at }) => !isOk && at > begun), 'a refresh that fails', 60_000).then(
      () => true,
      () => false,
    )
    tally.promise(failed, 'no refresh failed with a full disk')
    await pause(seconds * 1000)
    const isUp = stores.postgres.isAlive()
    rmSync(filler)
    // Postgres ends when it cannot write its WAL: an operator starts it again
    if (!isUp) await stores.postgres.start()
    const freed = performance.now()
    await until(async () => (await users[0]!.login().catch(() => null))?.status === 200, 'a login with space', 60_000)
    const back = Math.round(performance.now() - freed)
    await pause(2000)
    await refreshes.stop()
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    const wrong = refreshes.samples.filter(({ how }) => !/^(rotated|unavailable)/.test(how))
    tally.promise(wrong.length === 0, countSamples('refreshes that must not happen', wrong))
    await promiseAllRefresh(tally, clients)
    await promiseOneSuccessor(tally, successors, stores.postgres)
    const dropped = await gateways[1]!.metric('portcullis_log_lines_dropped_total')
    tally.promise(dropped > 0, 'log_lines_dropped_total does not count the lines that a full disk refused')
    await checkGateways(tally, gateways)
    return resultOf(
      `a disk of ${DISK_MIB} MiB with Postgres, ${filled} MiB of it filled; 2 gateways, the log of one on /dev/full; ${Math.round((performance.now() - begun) / 1000)} s`,
      [
        countSamples('refreshes', refreshes.samples),
        countSamples('proxied', proxied.samples),
        `Postgres ${isUp ? 'went on' : 'ended'}`,
        `a login ${back} ms after`,
        `${dropped} log lines dropped`,
      ],
      tally,
    )
  },
}

/** Writes until there is no space. @returns MiB */
function fill(path: string): number {
  const file = openSync(path, 'w')
  let mib = 0
  try {
    for (; ; mib++) writeSync(file, PIECE)
  } catch {
    return mib
  } finally {
    closeSync(file)
  }
}
