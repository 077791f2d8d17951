/**
 * Measures the CPU of the gateway for a request by session cookie beside a request by access token, in turns, and for a page. Prints a
 * Markdown table. Needs wrk, taskset and two CPUs. Believe it only on a quiet machine.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { cookieLogin } from '../test/support/browser-session.ts'
import { newUser } from '../test/support/client.ts'
import { startGatewayProcess } from '../test/support/gateway-process.ts'
import { median } from './runner/numbers.ts'
import { startUpstream } from './runner/upstream.ts'
import { cpuSecondsOf } from './runner/vitals.ts'

const GATEWAY_CPU = 0
const ROUNDS = 6
const SECONDS = 5

const upstream = await startUpstream()
const gateway = await startGatewayProcess({
  routes: [{ name: 'api', match: { path: '/api' }, upstream: [`http://127.0.0.1:${upstream.port}`], access: 'authenticated' }],
  auth: { browser: { enabled: true } },
  cpu: GATEWAY_CPU,
})
try {
  const user = await newUser(gateway)
  const cookie = `cookie: portcullis-dev=${await cookieLogin(gateway, user)}`
  const sameOrigin = 'sec-fetch-site: same-origin'

  /** @returns microseconds of CPU for each request */
  async function cpuOf(path: string, headers: readonly string[], seconds = SECONDS): Promise<number> {
    const before = cpuSecondsOf(gateway.pid)
    const args = ['-c', '1', 'wrk', '-t1', '-c16', `-d${seconds}s`, ...headers.flatMap((header) => ['-H', header]), gateway.url + path]
    const { stdout: output } = await promisify(execFile)('taskset', args)
    if (output.includes('Non-2xx')) throw new Error(`${path} was refused: ${output}`)
    return ((cpuSecondsOf(gateway.pid) - before) * 1_000_000) / Number(/(\d+) requests in/.exec(output)![1])
  }

  const bearer = () => cpuOf('/api/items', [`authorization: Bearer ${user.token}`])
  const session = () => cpuOf('/api/items', [cookie, sameOrigin])
  console.log(`load average before: ${readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 2).join(' ')}\n`)
  const pairs: { bearer: number; session: number }[] = []
  // the first round warms up
  for (let round = 0; round <= ROUNDS; round++) pairs.push({ bearer: await bearer(), session: await session() })
  pairs.shift()
  const ratios = pairs.map((pair) => pair.session / pair.bearer).sort((a, b) => a - b)
  const shown = (values: number[]) => median(values).toFixed(1)
  console.log('| request | CPU |\n|---|---|')
  console.log(`| by access token | ${shown(pairs.map((pair) => pair.bearer))} µs |`)
  console.log(`| by session cookie | ${shown(pairs.map((pair) => pair.session))} µs |`)
  console.log(`| cookie ÷ token | ${median(ratios).toFixed(3)} (${ratios[0]!.toFixed(3)} to ${ratios.at(-1)!.toFixed(3)}) |\n`)

  console.log('| page | CPU | bytes with style and script | compressed |\n|---|---|---|---|')
  for (const [path, headers] of [
    ['/auth/ui/login', []],
    ['/auth/ui/account', [cookie]],
    ['/auth/ui/account/factors', [cookie]],
    ['/auth/ui/account/api-keys', [cookie]],
  ] as const) {
    const [name, value] = cookie.split(': ') as [string, string]
    const read = async (at: string) => Buffer.from(await (await fetch(gateway.url + at, { headers: { [name]: value } })).arrayBuffer())
    const page = await read(path)
    const files = [...page.toString().matchAll(/(?:href|src)="(\/auth\/ui\/assets\/[^"]+)"/g)].map(([, file]) => file!)
    const parts = [page, ...(await Promise.all(files.map(read)))]
    const sum = (sizes: number[]) => sizes.reduce((a, b) => a + b, 0)
    const costs: number[] = []
    for (let i = 0; i < 4; i++) costs.push(await cpuOf(path, headers, 2))
    const cpu = median(costs.slice(1))
    console.log(
      `| \`${path}\` | ${(cpu / 1000).toFixed(2)} ms | ${sum(parts.map((p) => p.length))} | ${sum(parts.map((p) => gzipSync(p).length))} |`,
    )
  }
} finally {
  await gateway.stop()
  upstream.stop()
}
