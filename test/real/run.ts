/** Puts the gateway between real upstreams and real clients, and compares each exchange with the same exchange without the gateway. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { route } from '../support/config.ts'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { freePort, type Running, start, until } from '../support/processes.ts'
import { prepareTools, type Tools } from './cache.ts'
import { type Comparison, compare } from './compare.ts'
import { writeExchanges } from './exchanges.ts'
import { measureIdleCloses } from './idle-closes.ts'
import { CLIENTS, type ClientKind, type Command, UPSTREAMS, type UpstreamKind } from './kinds.ts'
import { tryKit } from './kit.ts'
import { parseOutput } from './lines.ts'
import { compareVerifiers } from './verifiers.ts'

const HELP = `node test/real/run.ts [--upstream NAME] [--client NAME] [--part matrix|idle-closes|verifiers|kit]

  upstreams   ${UPSTREAMS.map(({ name }) => name).join(', ')}
  clients     ${CLIENTS.map(({ name }) => name).join(', ')}

Exit code: 0 everything is equal, 1 something differs, 2 wrong usage.`

const CLIENT_MS = 120_000

interface Cell {
  upstream: string
  client: string
  text: string
}

interface RunningUpstream {
  kind: UpstreamKind
  prefix: string
  url: string
  running: Running
}

const log = (text = '') => void process.stdout.write(`${text}\n`)

/** Running upstreams, and the reasons why others are not compared. */
async function startUpstreams(kinds: UpstreamKind[], tools: Tools, folder: string, missing: string[]): Promise<RunningUpstream[]> {
  const targets: RunningUpstream[] = []
  for (const kind of kinds) {
    const port = await freePort()
    const prefix = kind.name === 'socket.io' ? '/socket.io' : `/${kind.name}`
    const files = join(folder, kind.name)
    mkdirSync(files)
    const command = kind.command(tools, port, prefix, files)
    if ('missing' in command) missing.push(`upstream ${kind.name}: ${command.missing}`)
    else {
      const running = launch(command)
      const target = { kind, prefix, url: `http://127.0.0.1:${port}`, running }
      targets.push(target)
      await until(() => accepts(port), kind.name, 20_000).catch((error) => {
        missing.push(`upstream ${kind.name}: ${error.message} ${running.output().slice(-1000)}`)
        targets.pop()
      })
    }
  }
  return targets
}

const launch = ({ args, env }: Command, more: string[] = []) =>
  start(args[0]!, [...args.slice(1), ...more], { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } })

const accepts = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = createConnection(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

/** What the client gets directly and through the gateway, from one process. */
async function exchange(command: Command, { url, prefix }: RunningUpstream, gateway: GatewayProcess, list: string): Promise<Comparison> {
  const { args, env } = command
  const running = start(args[0]!, [...args.slice(1), list, url + prefix, gateway.url + prefix], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const chunks: Buffer[] = []
  running.child.stdout!.on('data', (chunk) => chunks.push(chunk))
  const timer = setTimeout(() => running.child.kill(), CLIENT_MS)
  await new Promise((resolve) => running.child.once('close', resolve))
  clearTimeout(timer)
  const [direct = new Map(), proxied = new Map()] = parseOutput(Buffer.concat(chunks).toString('latin1'))
  const result = compare(direct, proxied, url)
  if (direct.size === 0) result.differences.push(running.output().slice(-2000))
  return result
}

async function compareAll(upstreams: UpstreamKind[], clients: ClientKind[], tools: Tools): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-real-'))
  const missing: string[] = []
  const differences: string[] = []
  const targets = await startUpstreams(upstreams, tools, folder, missing)
  const gateway = await startGatewayProcess({
    routes: targets.map(({ url, prefix, kind }) =>
      route(prefix, { upstream: [url], websocket: kind.protocol !== 'http', body: { maxBytes: 50_000_000 } }),
    ),
  })
  try {
    const list = writeExchanges(join(folder, 'exchanges'))
    const results: Cell[] = []
    for (const client of clients) {
      const matching = targets.filter(({ kind }) => kind.protocol === client.protocol)
      const command = client.command(tools)
      if ('missing' in command) missing.push(`client ${client.name}: ${command.missing}`)
      if ('missing' in command || matching.length === 0) continue
      for (const target of matching) {
        const result = await exchange(command, target, gateway, client.protocol === 'http' ? list : '-')
        const differ = new Set(result.differences.map((text) => text.split(':')[0])).size
        results.push({ upstream: target.kind.name, client: client.name, text: differ ? `${differ} DIFFER` : `${result.equal} equal` })
        process.stderr.write(`${target.kind.name} × ${client.name}: ${results.at(-1)!.text}\n`)
        const at = `${target.kind.name} × ${client.name}`
        differences.push(...result.differences.map((text) => `${at}: ${text}`))
        missing.push(...result.skipped.map((text) => `${at}: ${text.trim()}`))
      }
    }
    printTable(results)
    report('not compared', missing)
    report('differs', [...differences, ...gateway.complaints().map((line) => `in the log: ${line}`)])
    return differences.length === 0 && gateway.complaints().length === 0
  } finally {
    await gateway.stop()
    for (const { running } of targets) await running.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A row for each upstream, a column for each client. */
function printTable(cells: Cell[]): void {
  const [upstreams, clients] = [[...new Set(cells.map((c) => c.upstream))], [...new Set(cells.map((c) => c.client))]]
  const textOf = (upstream: string, client: string) => cells.find((c) => c.upstream === upstream && c.client === client)?.text ?? '-'
  const rows = [['', ...clients], ...upstreams.map((upstream) => [upstream, ...clients.map((client) => textOf(upstream, client))])]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  for (const row of rows)
    log(
      row
        .map((text, column) => text.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
}

/** Prints the lines; lines with the same end share a line. */
function report(title: string, lines: string[]): void {
  if (lines.length === 0) return
  log(`\n${title}:`)
  const groups = Map.groupBy(lines, (line) => line.slice(line.indexOf(': ') + 2))
  for (const [text, same] of groups) {
    const targets = same.map((line) => line.slice(0, line.indexOf(': ')))
    log(`  ${targets.slice(0, 3).join(', ')}${targets.length > 3 ? ` and ${targets.length - 3} more` : ''}: ${text}`)
  }
}

function readArgs() {
  try {
    const { values } = parseArgs({ options: { upstream: { type: 'string' }, client: { type: 'string' }, part: { type: 'string' } } })
    const upstreams = UPSTREAMS.filter(({ name }) => name === (values.upstream ?? name))
    const clients = CLIENTS.filter(({ name }) => name === (values.client ?? name))
    const isRight =
      upstreams.length > 0 && clients.length > 0 && ['matrix', 'idle-closes', 'verifiers', 'kit', undefined].includes(values.part)
    return isRight ? { upstreams, clients, part: values.part } : null
  } catch {
    return null
  }
}

async function main(): Promise<number> {
  const words = readArgs()
  if (!words) {
    log(HELP)
    return 2
  }
  if (words.part === 'verifiers') return (await compareVerifiers(log)) ? 0 : 1
  if (words.part === 'kit') return (await tryKit(log)) ? 0 : 1
  const tools = prepareTools()
  let isKept = true
  if (words.part !== 'idle-closes') isKept = await compareAll(words.upstreams, words.clients, tools)
  if (words.part !== 'matrix') isKept = (await measureIdleCloses(tools, log)) && isKept
  if (words.part === undefined) isKept = (await compareVerifiers(log)) && isKept
  if (words.part === undefined) isKept = (await tryKit(log)) && isKept
  return isKept ? 0 : 1
}

process.exitCode = await main()
