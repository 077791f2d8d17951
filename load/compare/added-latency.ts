/** What a single request waits longer for than without anything in between. */
import { median, type Options, wrk } from './measure.ts'
import type { Neighbours } from './neighbours.ts'
import type { AddedLatency } from './report.ts'
import { type Running, start } from './running.ts'
import { gateway } from './subjects/gateway.ts'
import { bare, raw } from './subjects/node.ts'

export async function measureAddedLatency(folder: string, neighbours: Neighbours, { runs, seconds }: Options): Promise<AddedLatency[]> {
  const running: Running[] = []
  try {
    for (const subject of [gateway, bare, raw]) running.push(await start(subject, folder, neighbours))
    const direct = { name: 'direct', url: neighbours.upstream, token: null }
    const times = new Map([direct, ...running].map(({ name }) => [name, [] as number[]]))
    for (const process of running) {
      // one request at a time is too few for the compiler
      await wrk(process, 2, 32)
      await process.pause()
    }
    for (let run = 0; run < runs; run++) {
      times.get('direct')!.push((await wrk(direct, seconds, 1)).p50Ms)
      for (const process of running) {
        process.resume()
        await wrk(process, 1, 1)
        times.get(process.name)!.push((await wrk(process, seconds, 1)).p50Ms)
        await process.pause()
      }
    }
    const added = (name: string) => median(times.get(name)!.map((ms, run) => ms - times.get('direct')![run]!))
    return running.map(({ name }) => ({ name, p50Ms: added(name) }))
  } finally {
    for (const process of running) await process.stop()
  }
}
