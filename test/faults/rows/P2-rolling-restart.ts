import http from 'node:http'
import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { keepAliveAgent } from '../harness/http.ts'
import { resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, failed, p, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

const SHUTDOWN_DELAY_MS = 1000
const SHUTDOWN_TIMEOUT_MS = 10_000
const UPLOAD_PIECES = 20
const PIECE = 'x'.repeat(10_000)
/** Longer than the time until new connections are refused. */
const UPLOAD_MS = 3000

export const row: FaultRow = {
  id: 'P2',
  fault: 'rolling restart by SIGTERM under clients with keep-alive',
  promise: 'no request fails, uploads in flight finish, each gateway ends with exit code 0 within its time',
  async run(options) {
    const restarts = options.seconds ? Number.POSITIVE_INFINITY : options.short ? 2 : 20
    const rate = options.short ? 100 : 1000
    const tally = createTally()
    const config = { server: { shutdownDelayMs: SHUTDOWN_DELAY_MS, shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS } }
    const { gateways, balancer, clients } = await startSetting({ workers: 2, clients: 20, config })
    const agent = keepAliveAgent(64)
    const traffic = proxiedTraffic([balancer.url], rate, { agent, tokenOf: tokensOf(clients) })
    const begun = performance.now()
    const isOver = () => performance.now() > begun + (options.seconds ?? Number.POSITIVE_INFINITY) * 1000
    let done = 0
    let slowest = 0
    for (; done < restarts && !isOver(); done++) {
      const victim = gateways[done % gateways.length]!
      await pause(500)
      const upload = slowUpload(victim.url)
      await pause(100)
      const stopping = performance.now()
      const code = await victim.stop()
      slowest = Math.max(slowest, performance.now() - stopping)
      tally.promise(code === 0, `${victim.name} ended with ${code}`)
      const received = await upload
      tally.add(received === UPLOAD_PIECES * PIECE.length ? 'uploads finished' : `uploads broken (${received})`)
      await victim.start()
      await until(() => balancer.ready().length === gateways.length, 'the balancer to notice')
    }
    await traffic.stop()
    agent.destroy()
    const took = Math.round((performance.now() - begun) / 1000)
    const bad = failed(traffic.samples)
    const races = bad.filter(({ isIdleRace }) => isIdleRace)
    const others = bad.filter(({ isIdleRace }) => !isIdleRace)
    tally.promise(others.length === 0, countSamples('requests that failed', others))
    tally.promise(races.length <= traffic.samples.length / 100_000, `${races.length} requests met the close of an idle connection`)
    tally.promise(tally.get('uploads finished') === done, 'an upload in flight was broken off')
    tally.promise(slowest < SHUTDOWN_DELAY_MS + SHUTDOWN_TIMEOUT_MS, `a stop took ${Math.round(slowest)} ms`)
    for (const gateway of gateways) promiseHealthy(gateway, tally)
    return resultOf(
      `2 gateways with 2 workers, ${rate} requests/s on kept connections, ${done} restarts; ${took} s`,
      [countSamples('requests', traffic.samples), `p99 ${p(traffic.samples, 0.99)} ms`, `slowest stop ${Math.round(slowest)} ms`],
      tally,
    )
  },
}

/** @returns the bytes that the upstream received, or how the upload broke */
function slowUpload(url: string): Promise<number | string> {
  return new Promise((resolve) => {
    const request = http.request(`${url}/open/upload`, {
      method: 'POST',
      agent: false,
      headers: { 'content-length': UPLOAD_PIECES * PIECE.length },
    })
    request.on('error', (error) => resolve(error.message))
    request.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve(response.statusCode === 200 ? JSON.parse(text).bytes : `status ${response.statusCode}`))
    })
    void (async () => {
      for (let i = 0; i < UPLOAD_PIECES; i++) {
        request.write(PIECE)
        await pause(UPLOAD_MS / UPLOAD_PIECES)
      }
      request.end()
    })()
  })
}
