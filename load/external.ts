/**
 * Measures the CPU of the gateway for a request by a token of another issuer beside a request by its own access token, in turns. Both tokens are
 * of ES256, about as long, and verified before. Prints a Markdown table. Needs wrk, taskset and two CPUs. Believe it only on a quiet machine.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { newUser } from '../test/support/client.ts'
import { startExternalIssuer } from '../test/support/external-issuer.ts'
import { startGatewayProcess } from '../test/support/gateway-process.ts'
import { until } from '../test/support/processes.ts'
import { claimsOf } from '../test/support/session.ts'
import { median } from './runner/numbers.ts'
import { startUpstream } from './runner/upstream.ts'
import { cpuSecondsOf } from './runner/vitals.ts'

const GATEWAY_CPU = 0
const ROUNDS = 8
const SECONDS = 5

const upstream = await startUpstream()
const issuer = await startExternalIssuer()
const gateway = await startGatewayProcess({
  routes: [{ name: 'api', match: { path: '/api' }, upstream: [`http://127.0.0.1:${upstream.port}`], access: { roles: ['user'] } }],
  tokens: { accessTtlSeconds: 3600 },
  issuers: [issuer.settings()],
  cpu: GATEWAY_CPU,
})
try {
  const { token: own } = await newUser(gateway)
  const { iss: _iss, aud: _aud, sub, iat: _iat, ...others } = claimsOf(own)
  const external = await issuer.token({ ...others, sub, groups: ['staff'] })

  /** @returns microseconds of CPU for each request */
  async function cpuOf(token: string): Promise<number> {
    const before = cpuSecondsOf(gateway.pid)
    const args = ['-c', '1', 'wrk', '-t1', '-c16', `-d${SECONDS}s`, '-H', `authorization: Bearer ${token}`, `${gateway.url}/api/items`]
    const { stdout: output } = await promisify(execFile)('taskset', args)
    if (output.includes('Non-2xx')) throw new Error(`a request was refused: ${output}`)
    return ((cpuSecondsOf(gateway.pid) - before) * 1_000_000) / Number(/(\d+) requests in/.exec(output)![1])
  }

  const isAccepted = async () => (await fetch(`${gateway.url}/api/items`, { headers: { authorization: `Bearer ${external}` } })).ok
  await until(isAccepted, 'the keys of the issuer are read')
  console.log(`load average before: ${readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 2).join(' ')}`)
  console.log(`length of the tokens: ${own.length} and ${external.length} characters\n`)
  const pairs: { own: number; external: number }[] = []
  // the first round warms up; who begins changes
  for (let round = 0; round <= ROUNDS; round++) {
    const first = round % 2 === 0 ? await cpuOf(own) : await cpuOf(external)
    const second = round % 2 === 0 ? await cpuOf(external) : await cpuOf(own)
    pairs.push(round % 2 === 0 ? { own: first, external: second } : { own: second, external: first })
  }
  pairs.shift()
  const ratios = pairs.map((pair) => pair.external / pair.own).sort((a, b) => a - b)
  const shown = (values: number[]) => median(values).toFixed(1)
  console.log('| request | CPU |\n|---|---|')
  console.log(`| by our own access token | ${shown(pairs.map((pair) => pair.own))} µs |`)
  console.log(`| by a token of another issuer | ${shown(pairs.map((pair) => pair.external))} µs |`)
  console.log(`| external ÷ own | ${median(ratios).toFixed(3)} (${ratios[0]!.toFixed(3)} to ${ratios.at(-1)!.toFixed(3)}) |`)
} finally {
  await gateway.stop()
  await issuer.close()
  upstream.stop()
}
