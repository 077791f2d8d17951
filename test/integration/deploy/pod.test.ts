/** What the pods of the chart run, with their arguments, variables and files, beside a real Postgres and Redis. There is no cluster here. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { CLI } from '../../support/gateway-process.ts'
import { CHART, containersOf, HELM, type Manifest, only, podOf, render } from '../../support/manifests.ts'
import { query } from '../../support/postgres.ts'
import { bare, freePort, type Running, start, until } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

describeWith(HELM, 'the pods of the chart', () => {
  let upstream: Upstream
  let secrets: Record<string, string>
  let ports: { port: number; adminPort: number }
  let gateway: Running | undefined
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-pod-'))
  const folder = join(dir, 'config')

  beforeAll(async () => {
    upstream = await startUpstream()
    ports = { port: await freePort(), adminPort: await freePort() }
    const database = `pod_${process.pid}_${Date.now().toString(36)}`
    await query(inject('postgresUrl'), `CREATE DATABASE ${database}`)
    secrets = {
      PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
      DATABASE_URL: inject('postgresUrl').replace(/\/postgres$/, `/${database}`),
      REDIS_URL: inject('redisUrl'),
    }
    mkdirSync(folder)
  })
  afterAll(async () => {
    await gateway?.stop()
    await upstream.close()
    rmSync(dir, { recursive: true })
  })

  /** The chart with these paths as routes. */
  const chartOf = (...paths: string[]): Manifest[] =>
    render({
      files: [`${CHART}/ci/minimal.yaml`],
      values: {
        config: {
          server: { port: ports.port, shutdownDelayMs: 2000 },
          admin: { port: ports.adminPort },
          routes: paths.map((path) => ({ name: path.slice(1), match: { path }, upstream: [upstream.url], access: 'public' })),
        },
      },
    })

  let versions = 0
  /** As the kubelet writes a ConfigMap: the files are links through `..data`, which is replaced at once. */
  function mount({ data }: Manifest): void {
    const version = `..2026_${++versions}`
    mkdirSync(join(folder, version))
    for (const [name, text] of Object.entries(data as Record<string, string>)) {
      writeFileSync(join(folder, version, name), text, { mode: 0o444 })
      if (versions === 1) symlinkSync(join('..data', name), join(folder, name))
    }
    symlinkSync(version, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  }

  /** Runs a container in its folder. The image begins with `node …/cli.js`. */
  function run({ args, env }: { args: string[]; env: { name: string; value?: string }[] }): Running {
    const variables = Object.fromEntries(env.map(({ name, value }) => [name, value ?? secrets[name]]))
    const inPlace = args.map((arg) => arg.replace('/etc/portcullis', folder))
    return start(process.execPath, [CLI, ...inPlace], { cwd: folder, env: { ...bare(), NODE_ENV: 'production', ...variables } })
  }
  async function finished(running: Running): Promise<{ code: number; output: string }> {
    const [code] = await once(running.child, 'close')
    return { code, output: running.output() }
  }
  const statusOf = (port: number, path: string) => fetch(`http://127.0.0.1:${port}${path}`).then(({ status }) => status)

  it('the Job checks the configuration and migrates an empty database', async () => {
    const manifests = chartOf('/orders')
    mount(only(manifests, 'ConfigMap', 'portcullis-migrate'))
    const [check, migrate] = containersOf(podOf(only(manifests, 'Job')))
    expect(await finished(run(check))).toMatchObject({ code: 0, output: expect.stringContaining('the configuration is valid') })
    expect(await finished(run(migrate))).toMatchObject({ code: 0, output: expect.stringContaining('up: 0001') })
    expect(await finished(run(migrate))).toMatchObject({ code: 0, output: expect.stringContaining('nothing to do') })
  }, 120_000)

  it('the Job fails with a configuration that the gateway refuses, and names the setting', async () => {
    mount(only(chartOf('/orders', '/orders'), 'ConfigMap', 'portcullis-migrate'))
    const [check] = containersOf(podOf(only(chartOf('/orders'), 'Job')))
    expect(await finished(run(check))).toMatchObject({ code: 2, output: expect.stringMatching(/portcullis\.yaml:\d+:\d+: routes\[1\]/) })
  })

  it('the gateway passes its probes, takes a changed ConfigMap without a restart, and stops in order', async () => {
    const before = chartOf('/orders')
    mount(only(before, 'ConfigMap', 'portcullis'))
    const [container] = podOf(only(before, 'Deployment')).containers
    gateway = run(container)
    const probe = (name: string) => statusOf(ports.adminPort, container[name].httpGet.path)
    await until(async () => (await probe('readinessProbe')) === 200, `readiness\n${gateway.output()}`, 60_000)
    expect([await probe('startupProbe'), await probe('livenessProbe')]).toEqual([200, 200])
    expect([await statusOf(ports.port, '/orders'), await statusOf(ports.port, '/invoices')]).toEqual([200, 404])

    const after = chartOf('/orders', '/invoices')
    const podsOf = (manifests: Manifest[]) => only(manifests, 'Deployment').spec.template
    // Kubernetes replaces pods when their template changes
    expect(podsOf(after)).toEqual(podsOf(before))
    mount(only(after, 'ConfigMap', 'portcullis'))
    await until(async () => (await statusOf(ports.port, '/invoices')) === 200, 'the new route')
    expect(gateway.child.exitCode).toBeNull()

    const gone = once(gateway.child, 'exit')
    gateway.child.kill('SIGTERM')
    await until(async () => (await probe('readinessProbe')) === 503, 'not ready')
    // server.shutdownDelayMs: it still serves
    expect(await statusOf(ports.port, '/orders')).toBe(200)
    expect(await gone).toEqual([0, null])
  }, 120_000)
})
