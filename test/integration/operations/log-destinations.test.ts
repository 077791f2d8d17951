/** Where the log goes may fail in any way: no request fails for it, no process ends, and what is lost is counted. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { type GatewayProcess, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { type Running, start as startProcess, until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let dir: string
beforeAll(async () => {
  upstream = await startUpstream()
  dir = mkdtempSync(join(tmpdir(), 'portcullis-logs-'))
})
afterAll(async () => {
  await upstream.close()
  rmSync(dir, { recursive: true, force: true })
})

const ended: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end()
})

async function start(stdout: number, { workers = 1, args = [] }: { workers?: number; args?: string[] } = {}): Promise<GatewayProcess> {
  const gateway = await startGatewayProcess({
    // the route's name is in each line, so the lines are long
    routes: [{ name: 'r'.repeat(60), match: { path: '/' }, upstream: [upstream.url], access: 'public' }],
    stdout,
    args,
    server: { shutdownDelayMs: 0, workers, overload: { maxLoopDelayMs: 0 } },
    stores: { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') },
  })
  ended.push(() => gateway.stop())
  return gateway
}

/** Asks until `isEnough`. Every answer must be 200. */
async function ask(gateway: GatewayProcess, isEnough: () => Promise<boolean>, what: string): Promise<void> {
  await until(
    async () => {
      const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${gateway.url}/x`)))
      for (const answer of answers) {
        expect(answer.status).toBe(200)
        await answer.arrayBuffer()
      }
      return isEnough()
    },
    what,
    60_000,
  )
}
async function dropped(gateway: GatewayProcess): Promise<number> {
  const line = (await get(`${gateway.adminUrl}/metrics`)).split('\n').find((text) => text.startsWith('portcullis_log_lines_dropped_total '))
  return Number(line?.split(' ')[1])
}
const drops = (gateway: GatewayProcess) => ask(gateway, async () => (await dropped(gateway)) > 0, 'a line that is dropped')

/** After SIGTERM it ends by itself: the kill of `stop` comes much later. */
async function endsBySigterm(gateway: GatewayProcess): Promise<void> {
  process.kill(gateway.pid, 'SIGTERM')
  await until(() => !gateway.isAlive(), 'the end', 8000)
  expect(gateway.complaints()).toEqual([])
}

/** A pipe with a name: its reader can stop, end, and be replaced. */
function openPipe() {
  const [pipe, file] = [join(dir, `pipe-${ended.length}-${process.hrtime.bigint()}`), join(dir, `read-${process.hrtime.bigint()}`)]
  execFileSync('mkfifo', [pipe])
  const readers: Running[] = []
  const read = (): Running => {
    const reader = startProcess('sh', ['-c', `exec cat '${pipe}' >> '${file}'`])
    readers.push(reader)
    return reader
  }
  const reader = read()
  // waits for the reader
  const fd = openSync(pipe, 'w')
  ended.push(async () => {
    for (const each of readers) {
      each.child.kill('SIGCONT')
      await each.stop('SIGKILL')
    }
  })
  return { fd, reader, read, text: () => readFileSync(file, 'utf8'), lines: () => readFileSync(file, 'utf8').split('\n').filter(Boolean) }
}
const report = (lines: string[]) => lines.map((line) => JSON.parse(line)).find(({ reason }) => reason === 'log_lines_dropped')

it('a disk that is full', async () => {
  const full = openSync('/dev/full', 'w')
  const gateway = await start(full)
  closeSync(full)
  await drops(gateway)
  await endsBySigterm(gateway)
}, 90_000)

/** A disk that only root can make. `null` where the system forbids it. */
function mountSmallDisk(): string | null {
  const disk = mkdtempSync(join(tmpdir(), 'portcullis-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], { stdio: 'ignore' })
    return disk
  } catch {
    rmSync(disk, { recursive: true })
    return null
  }
}
const disk = mountSmallDisk()
afterAll(() => {
  if (!disk) return
  execFileSync('umount', ['-l', disk])
  rmSync(disk, { recursive: true })
})

it.runIf(disk)(
  'a disk that fills up and gets room again: no line is cut',
  async () => {
    const file = join(disk!, 'log')
    const fd = openSync(file, 'a')
    const gateway = await start(fd)
    closeSync(fd)
    await drops(gateway)
    execFileSync('mount', ['-o', 'remount,size=32m', disk!])
    await until(() => readFileSync(file, 'utf8').includes('log_lines_dropped'), 'the report')
    await endsBySigterm(gateway)
    expect(report(readFileSync(file, 'utf8').split('\n').filter(Boolean))).toMatchObject({ level: 'error' })
  },
  90_000,
)

describe.each([
  ['of one process', 1],
  ['of several workers', 2],
])('a pipe %s', (_, workers) => {
  it('whose reader stops: lines are dropped, and once it reads again, whole lines come with the number of those that are missing', async () => {
    const pipe = openPipe()
    const gateway = await start(pipe.fd, { workers })
    closeSync(pipe.fd)
    pipe.reader.child.kill('SIGSTOP')
    await drops(gateway)
    pipe.reader.child.kill('SIGCONT')
    await until(() => pipe.text().includes('log_lines_dropped') && report(pipe.lines()), 'the report')
    expect(report(pipe.lines())).toMatchObject({ level: 'error', dropped: await dropped(gateway) })
    await endsBySigterm(gateway)
    await until(() => pipe.text().includes('"msg":"stopped"'), 'the last line')
    for (const line of pipe.lines()) expect(() => JSON.parse(line)).not.toThrow()
  }, 90_000)

  it('whose reader has stopped when the gateway is stopped', async () => {
    const pipe = openPipe()
    const gateway = await start(pipe.fd, { workers })
    closeSync(pipe.fd)
    pipe.reader.child.kill('SIGSTOP')
    await drops(gateway)
    await endsBySigterm(gateway)
  }, 90_000)

  it('whose reader ends, and that is read again', async () => {
    const pipe = openPipe()
    const gateway = await start(pipe.fd, { workers })
    closeSync(pipe.fd)
    await pipe.reader.stop('SIGKILL')
    await drops(gateway)
    pipe.read()
    await until(() => pipe.text().includes('log_lines_dropped'), 'the report')
    await endsBySigterm(gateway)
  }, 90_000)
})

it('a pipe with readable lines whose reader stops', async () => {
  const pipe = openPipe()
  const gateway = await start(pipe.fd, { args: ['--log', 'pretty'] })
  closeSync(pipe.fd)
  pipe.reader.child.kill('SIGSTOP')
  await drops(gateway)
  pipe.reader.child.kill('SIGCONT')
  await until(
    () => /^\d\d:\d\d:\d\d ERROR log lines were dropped.*reason=log_lines_dropped\s+dropped=\d+$/m.test(pipe.text()),
    'the report',
  )
  await endsBySigterm(gateway)
}, 90_000)
