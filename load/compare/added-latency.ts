/** Measures how much longer a single request takes than directly at the upstream. */

import type { Dependencies } from './dependencies.ts'
import { median, type Options, wrk } from './measure.ts'
import type { AddedLatency } from './report.ts'
import { type Running, start } from './running.ts'
import { gateway } from './subjects/gateway.ts'
import { bare, raw } from './subjects/node.ts'

export async function measureAddedLatency(folder: string, dependencies: Dependencies, { runs, seconds }: Options): Promise<AddedLatency[]> {
  const running: Running[] = []
  try {
    for (const subject of [gateway, bare, raw]) running.push(await start(subject, folder, dependencies))
    const direct = { name: 'direct', url: dependencies.upstream, token: null }
    const times = new Map([direct, ...running].map(({ name }) => [name, [] as number[]]))
    for (const process of running) {
      // single requests would not warm up the compiler
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
