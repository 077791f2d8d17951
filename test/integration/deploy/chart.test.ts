/** The Helm chart: what it renders, what it refuses, and that the gateway accepts the configuration that it makes. */
import { randomBytes } from 'node:crypto'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { VERSION } from '../../../src/platform/lib/version.ts'
import { runCli } from '../../support/cli.ts'
import {
  CHART,
  containersOf,
  HELM,
  KUBECONFORM,
  type Manifest,
  manifestsOf,
  NEWEST,
  OLDEST,
  only,
  podOf,
  type RenderOptions,
  render,
  renderText,
  runTool,
  VERSIONS,
  validate,
} from '../../support/manifests.ts'
import { describeWith } from '../../support/tools.ts'

const MINIMAL = `${CHART}/ci/minimal.yaml`
const cases = globSync(`${CHART}/ci/*.yaml`).sort()
const texts = new Map<string, string>()

/** What a file of values renders to. */
function textOf(file: string): string {
  if (!texts.has(file)) texts.set(file, renderText({ files: [file] }))
  return texts.get(file)!
}
const minimal = (options: RenderOptions = {}) => render({ files: [MINIMAL], ...options })

/** The rules and dashboards are copies, which have tests of their own. */
const isCopy = ({ kind, metadata }: Manifest) => kind === 'PrometheusRule' || metadata.labels?.grafana_dashboard !== undefined

/** The variables that the container gets, with a stand-in for each secret. */
function environmentOf(container: any): NodeJS.ProcessEnv {
  const standIns: Record<string, string> = {
    PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
    PORTCULLIS_SECRET_KEY_PREVIOUS: randomBytes(32).toString('base64'),
    DATABASE_URL: 'postgres://portcullis:secret@db.stores:5432/portcullis',
    PORTCULLIS_DATABASE__READ_URL: 'postgres://portcullis:secret@replica.stores:5432/portcullis',
    REDIS_URL: 'redis://:secret@redis.stores:6379',
    PORTCULLIS_MAIL__URL: 'smtp://user:secret@mail.example.com:587',
    PORTCULLIS_ADMIN_EMAIL: 'admin@example.com',
    PORTCULLIS_ADMIN_PASSWORD: 'a password that nobody knows',
  }
  return Object.fromEntries(container.env.map(({ name, value }: any) => [name, value ?? standIns[name] ?? 'stand-in']))
}

describeWith(HELM, 'the chart', () => {
  it('is up to date with the version of the product', () => {
    expect(parse(readFileSync(`${CHART}/Chart.yaml`, 'utf8'))).toMatchObject({ version: VERSION, appVersion: VERSION })
  })

  it('needs the oldest version of Kubernetes that is tested, or a newer one', () => {
    expect(() => renderText({ files: [MINIMAL], kubernetes: '1.29.9' })).toThrow('chart requires kubeVersion: >=1.30.0-0')
    expect(renderText({ files: [MINIMAL], kubernetes: NEWEST })).toBe(textOf(MINIMAL))
  })

  it('renders the same from its package', () => {
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-chart-'))
    runTool('helm', ['package', CHART, '--destination', dir])
    const chart = join(dir, `portcullis-${VERSION}.tgz`)
    expect(renderText({ files: [`${CHART}/ci/full.yaml`], chart })).toBe(textOf(`${CHART}/ci/full.yaml`))
    rmSync(dir, { recursive: true })
  })

  describe.each(cases)('%s', (file) => {
    const name = basename(file)

    it('has no complaint of helm lint', () => {
      expect(runTool('helm', ['lint', '--strict', '--kube-version', OLDEST, '--values', file, CHART])).toContain('0 chart(s) failed')
    })

    it('renders what it rendered before', async () => {
      const kept = manifestsOf(textOf(file)).filter((manifest) => !isCopy(manifest))
      const text = kept.map((manifest) => `---\n${stringify(manifest, { lineWidth: 0 })}`).join('')
      await expect(text.replaceAll(VERSION, 'VERSION')).toMatchFileSnapshot(`golden/chart/${name}`)
    })

    it('the gateway accepts the configuration, with the variables of the pod', async () => {
      const manifests = manifestsOf(textOf(file))
      const deployment = only(manifests, 'Deployment')
      const [container] = podOf(deployment).containers
      const dir = mkdtempSync(join(tmpdir(), 'portcullis-config-'))
      const config = join(dir, 'portcullis.yaml')
      for (const [key, text] of Object.entries(only(manifests, 'ConfigMap', deployment.metadata.name).data))
        writeFileSync(join(dir, key), text as string)
      // relative names begin in the folder of the pod
      const inPlace = readFileSync(config, 'utf8').replaceAll('./offices.txt', join(dir, 'offices.txt'))
      writeFileSync(config, inPlace)
      const env = environmentOf(container)
      expect(await runCli(['check', '--strict', config], env)).toMatchObject({ code: 0, stdout: 'the configuration is valid\n' })
      const printed = parse((await runCli(['check', '--print', config], env)).stdout)
      const ports = Object.fromEntries(container.ports.map(({ name, containerPort }: any) => [name, containerPort]))
      expect(ports).toMatchObject({ [printed.server.tls ? 'https' : 'http']: printed.server.port, admin: printed.admin.port })
      const most = manifests.find(({ kind }) => kind === 'HorizontalPodAutoscaler')?.spec.maxReplicas ?? deployment.spec.replicas
      expect(printed.server.replicas).toBe(most)
      const { shutdownDelayMs, shutdownTimeoutMs } = printed.server
      const sleep = container.lifecycle?.preStop.sleep.seconds ?? 0
      // the gateway itself ends a stop by force 6 seconds after its time
      expect(podOf(deployment).terminationGracePeriodSeconds).toBeGreaterThan(sleep + (shutdownDelayMs + shutdownTimeoutMs) / 1000 + 6)
      rmSync(dir, { recursive: true })
    })

    it('its pods may do little', () => {
      const manifests = manifestsOf(textOf(file))
      const pods = manifests.flatMap((manifest) => podOf(manifest) ?? [])
      expect(pods.length).toBeGreaterThan(0)
      for (const pod of pods) {
        expect(pod).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false })
        expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
        expect(pod.securityContext.runAsUser).not.toBe(0)
        expect([pod.hostNetwork, pod.hostPID, pod.hostIPC]).toEqual([undefined, undefined, undefined])
        for (const volume of pod.volumes ?? []) expect(volume).not.toHaveProperty('hostPath')
        for (const container of containersOf(pod)) {
          expect(container.securityContext).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          })
          expect(container.resources).toMatchObject({
            requests: { cpu: expect.anything(), memory: expect.anything() },
            limits: { memory: expect.anything() },
          })
          expect(container.image).toMatch(/^registry\.example\.com\S*(:\d[\w.]*|@sha256:[0-9a-f]{64})$/)
          // files of a subPath never change
          for (const mount of container.volumeMounts ?? []) expect(mount).not.toHaveProperty('subPath')
        }
      }
    })

    it('its probes ask the admin port, and secrets are references', () => {
      const manifests = manifestsOf(textOf(file))
      const [container] = podOf(only(manifests, 'Deployment')).containers
      const paths = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((probe) => container[probe].httpGet)
      expect(paths).toEqual([
        { path: '/livez', port: 'admin' },
        { path: '/livez', port: 'admin' },
        { path: '/readyz', port: 'admin' },
      ])
      expect(manifests.map(({ kind }) => kind)).not.toContain('Secret')
      for (const variable of container.env.filter(({ name }: any) => /SECRET|PASSWORD|EMAIL|URL$/.test(name)))
        expect(variable.valueFrom.secretKeyRef).toEqual({ name: expect.any(String), key: expect.any(String) })
    })

    it('the public Service has no admin port, and the admin Service no address', () => {
      const manifests = manifestsOf(textOf(file))
      const { name } = only(manifests, 'Deployment').metadata
      expect(only(manifests, 'Service', name).spec.ports.map((port: any) => port.targetPort)).not.toContain('admin')
      expect(only(manifests, 'Service', `${name}-admin`).spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true })
      const policy = manifests.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === name)
      for (const rule of policy?.spec.ingress ?? [])
        if (rule.ports.some(({ port }: any) => port === 'admin')) expect([rule.ports.length, rule.from.length]).toEqual([1, 1])
    })
  })

  it('whatever the Job needs exists before it', () => {
    const manifests = manifestsOf(textOf(MINIMAL))
    const job = only(manifests, 'Job')
    const isHook = ({ metadata }: Manifest) => metadata.annotations?.['helm.sh/hook'] === 'pre-install,pre-upgrade'
    const hooks = manifests.filter(isHook)
    expect(hooks.map(({ kind }) => kind).sort()).toEqual(['ConfigMap', 'Job', 'NetworkPolicy'])
    const weight = ({ metadata }: Manifest) => Number(metadata.annotations!['helm.sh/hook-weight'])
    for (const hook of hooks.filter(({ kind }) => kind !== 'Job')) expect(weight(hook)).toBeLessThan(weight(job))
    const mounted = podOf(job).volumes.flatMap((volume: any) => volume.configMap?.name ?? [])
    expect(mounted).toEqual([only(hooks, 'ConfigMap').metadata.name])
    expect(only(hooks, 'ConfigMap').data).toEqual(only(manifests, 'ConfigMap', 'portcullis').data)
    expect(podOf(job).serviceAccountName).toBeUndefined()
    expect(only(hooks, 'NetworkPolicy').spec.podSelector.matchLabels).toEqual(job.spec.template.metadata.labels)
    // pods of the Job get no traffic
    const { selector } = only(manifests, 'Service', 'portcullis').spec
    expect(job.spec.template.metadata.labels).not.toMatchObject(selector)
    expect(podOf(job).initContainers[0].args[0]).toBe('check')
    expect(podOf(job).containers[0].args.slice(0, 2)).toEqual(['migrate', 'up'])
  })

  it('the values of docs/kubernetes.md render', () => {
    const fences = [...readFileSync('docs/kubernetes.md', 'utf8').matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text]) => parse(text!))
    expect(fences.length).toBe(3)
    const manifests = render({ values: Object.assign({}, ...fences) })
    expect(manifests.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['Ingress', 'ServiceMonitor', 'PrometheusRule']))
    const names = podOf(only(manifests, 'Deployment')).containers[0].env.map(({ valueFrom }: any) => valueFrom.secretKeyRef.name)
    expect(names).toEqual(['portcullis', 'portcullis-db-app', 'portcullis', 'mail'])
  })

  it('selectors find the pods of the Deployment', () => {
    for (const file of cases) {
      const manifests = manifestsOf(textOf(file))
      const deployment = only(manifests, 'Deployment')
      const { labels } = deployment.spec.template.metadata
      expect(labels).toMatchObject(deployment.spec.selector.matchLabels)
      for (const { kind, spec } of manifests.filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] === undefined)) {
        if (kind === 'Service') expect(labels).toMatchObject(spec.selector)
        if (kind === 'PodDisruptionBudget') expect(labels).toMatchObject(spec.selector.matchLabels)
        if (kind === 'NetworkPolicy') expect(labels).toMatchObject(spec.podSelector.matchLabels)
      }
    }
  })

  it('without the Job, the first pod migrates, and is live meanwhile', () => {
    const manifests = minimal({ set: ['migrations.enabled=false'] })
    expect(manifests.filter(({ metadata }) => metadata.annotations?.['helm.sh/hook']).map(({ kind }) => kind)).toEqual(['Pod'])
  })

  describe('a change of the configuration', () => {
    const sumOf = (set: string[], file = MINIMAL) =>
      only(render({ files: [file], set }), 'Deployment').spec.template.metadata.annotations['checksum/needs-restart']

    it.each([
      'config.routes[0].access=public',
      'config.server.trustedProxies[0]=10.0.0.0/8',
      'config.limits.streams=7',
      'config.log.level=debug',
      'configFiles.a\\.txt=192.0.2.0/24',
    ])('reloads, and replaces no pod: %s', (setting) => {
      expect(sumOf([setting])).toBe(sumOf([]))
    })

    it.each([
      'config.tokens.accessTtlSeconds=77',
      'config.server.maxConnections=77',
      'config.auth.browser.enabled=true',
      'config.server.tls.cert=/a,config.server.tls.key=/b,service.port=443',
      'config.mail.from=a@example.com',
      'replicaCount=5',
    ])('replaces the pods, because it needs a restart: %s', (setting) => {
      expect(sumOf([setting])).not.toBe(sumOf([]))
    })

    it('always replaces the pods without reload.watch', () => {
      const file = `${CHART}/ci/own-platform.yaml`
      const sums = [[], ['config.routes[0].access=public'], ['configFiles.a\\.txt=x']].map((set) => sumOf(set, file))
      expect(new Set(sums).size).toBe(3)
    })
  })

  it('the rules are those of deploy/prometheus, and the ServiceMonitor gives the job that they name', () => {
    const manifests = manifestsOf(textOf(`${CHART}/ci/full.yaml`))
    const rules = manifests.filter(({ kind }) => kind === 'PrometheusRule')
    const sources = globSync('deploy/prometheus/*.yml').filter((path) => parse(readFileSync(path, 'utf8')).groups)
    expect(rules.map(({ spec }) => spec)).toEqual(sources.sort().map((path) => parse(readFileSync(path, 'utf8'))))
    expect(rules.length).toBeGreaterThan(0)
    const { relabelings } = only(manifests, 'ServiceMonitor').spec.endpoints[0]
    expect(relabelings).toEqual([{ action: 'replace', targetLabel: 'job', replacement: 'portcullis' }])
    for (const [, job] of textOf(`${CHART}/ci/full.yaml`).matchAll(/up\{job="(\w+)"/g)) expect(job).toBe('portcullis')
  })

  it('the dashboards are those of deploy/grafana', () => {
    const found = manifestsOf(textOf(`${CHART}/ci/full.yaml`)).filter(({ metadata }) => metadata.labels?.grafana_dashboard === '1')
    const sources = globSync('deploy/grafana/dashboards/*.json').map((path) => [basename(path), JSON.parse(readFileSync(path, 'utf8'))])
    const dashboards = found.flatMap(({ data }) => Object.entries(data as Record<string, string>))
    expect(Object.fromEntries(dashboards.map(([name, text]) => [name, JSON.parse(text)]))).toEqual(Object.fromEntries(sources))
  })

  describe('refuses', () => {
    const without = (path: string) => ({ set: [`${path}=null`] })
    const ofEnv = (variable: object) => ({ values: { extraEnv: [variable] } })
    it.each<[string, RenderOptions, string]>([
      ['no image', without('image.repository'), 'image.repository is missing: name the image that you built'],
      [
        'no Secret',
        without('secrets.name'),
        'secrets.name is missing: it names the Secret with the key secret-key for PORTCULLIS_SECRET_KEY',
      ],
      [
        'no secret key',
        { set: ['secrets.secretKey.key='] },
        'secrets.secretKey.key is missing: the gateway does not start without PORTCULLIS_SECRET_KEY',
      ],
      ['no database', { set: ['secrets.databaseUrl.key='] }, 'secrets.databaseUrl.key is missing'],
      ['no Redis', { set: ['secrets.redisUrl.key='] }, 'secrets.redisUrl.key is missing'],
      [
        'half an administrator',
        { set: ['secrets.adminEmail.key=email'] },
        'secrets.adminEmail.key and secrets.adminPassword.key go together',
      ],
      [
        'no public address',
        { files: [], values: { image: { repository: 'a.example/b' }, secrets: { name: 'a' } } },
        'config.server.publicUrl is missing: set the address that clients use',
      ],
      [
        'an admin port that the kubelet cannot reach',
        { set: ['config.admin.host=127.0.0.1'] },
        'config.admin.host is 127.0.0.1: the kubelet and Prometheus cannot reach it',
      ],
      ['an admin port without a number', { set: ['config.admin.port=0'] }, 'config.admin.port is 0'],
      [
        'https on port 80',
        { set: ['config.server.tls.cert=/a.pem', 'config.server.tls.key=/a.key'] },
        'service.port is 80, and the gateway serves https (config.server.tls): set service.port to 443',
      ],
      [
        'ACME behind a policy that lets nobody out',
        {
          set: ['service.port=443', 'config.server.tls.acme.domains={api.example.com}', 'config.server.tls.acme.termsOfServiceAgreed=true'],
        },
        'config.server.tls.acme needs a way to the ACME server: allow it in networkPolicy.egress.extra',
      ],
      ['replicas in two places', { set: ['config.server.replicas=2'] }, 'config.server.replicas is set by the chart: set replicaCount'],
      [
        'too short an end',
        { set: ['terminationGracePeriodSeconds=30'] },
        'It needs 45 (preStopSleepSeconds + server.shutdownDelayMs + server.shutdownTimeoutMs + 10 seconds)',
      ],
      [
        'fewer at most than at least',
        { set: ['autoscaling.enabled=true', 'autoscaling.minReplicas=9'] },
        'autoscaling.minReplicas is larger than',
      ],
      [
        'a provider without its secret',
        { values: { config: { auth: { providers: [{ id: 'gh', kind: 'github', clientId: 'a', clientSecretEnv: 'GH_SECRET' }] } } } },
        'the provider gh needs the variable GH_SECRET: add it to extraEnv',
      ],
      [
        'a setting that belongs in config',
        ofEnv({ name: 'PORTCULLIS_SERVER__PORT', value: '1' }),
        'PORTCULLIS_SERVER__PORT belongs in config',
      ],
      ['a second portcullis.yaml', { values: { configFiles: { 'portcullis.yaml': 'x' } } }, 'configFiles cannot hold portcullis.yaml'],
      // a secret in values
      [
        'a database in config',
        { set: ['config.database.url=postgres://a:b@c/d'] },
        'config.database.url would put a password in a ConfigMap: put the address in a Secret, and name it in secrets.databaseUrl',
      ],
      ['a replica in config', { set: ['config.database.readUrl=postgres://a:b@c/d'] }, 'name it in secrets.databaseReadUrl'],
      ['a password of Redis in config', { set: ['config.redis.url=redis://:b@c'] }, 'name it in secrets.redisUrl'],
      ['a password of a mail server in config', { set: ['config.mail.url=smtp://a:b@c'] }, 'name it in secrets.mailUrl'],
      [
        'a secret variable with its value',
        ofEnv({ name: 'PORTCULLIS_SECRET_KEY', value: 'x' }),
        'PORTCULLIS_SECRET_KEY may be a secret: give it by valueFrom.secretKeyRef',
      ],
      ['a database in a variable', ofEnv({ name: 'DATABASE_URL', value: 'x' }), 'DATABASE_URL may be a secret'],
      [
        'the secret of a provider with its value',
        ofEnv({ name: 'GITHUB_CLIENT_SECRET', value: 'x' }),
        'GITHUB_CLIENT_SECRET may be a secret',
      ],
      ['a secret in place of its reference', { set: ['secrets.secretKey=c2VjcmV0'] }, "at '/secrets/secretKey': got string, want object"],
      [
        'a secret beside its reference',
        { set: ['secrets.secretKey.value=c2VjcmV0'] },
        "at '/secrets/secretKey': additional properties 'value' not allowed",
      ],
      ['an address as a key', { set: ['secrets.databaseUrl.key=postgres://a:b@c/d'] }, "at '/secrets/databaseUrl/key'"],
      // values.schema.json
      ['an unknown value', { set: ['replicas=3'] }, "additional properties 'replicas' not allowed"],
      ['no pods', { set: ['replicaCount=0'] }, "at '/replicaCount': minimum"],
      ['the tag latest', { set: ['image.tag=latest'] }, "at '/image/tag'"],
      ['a digest that is none', { set: ['image.digest=sha256:1'] }, "at '/image/digest'"],
      ['root', { set: ['securityContext.runAsUser=0'] }, "at '/securityContext/runAsUser': minimum"],
      ['a security context of its own', { set: ['securityContext.privileged=true'] }, "additional properties 'privileged' not allowed"],
      ['no memory limit', without('resources.limits'), "at '/resources'"],
      ['an unknown setting', { set: ['config.server.prot=1'] }, "at '/config/server': additional properties 'prot' not allowed"],
      ['an unknown setting of a route', { set: ['config.routes[0].acces=public'] }, "additional properties 'acces' not allowed"],
      ['a public address that is none', { set: ['config.server.publicUrl=api.example.com'] }, "at '/config/server/publicUrl'"],
    ])('%s', (_, options, message) => {
      expect(() => minimal(options)).toThrow(message)
    })
  })
})

describeWith(KUBECONFORM, 'kubeconform', () => {
  const all = () => cases.map(textOf).join('\n---\n')

  it.each(VERSIONS)('finds every manifest valid in Kubernetes %s', (version) => {
    expect(validate(all(), version)).toBe(manifestsOf(all()).length)
  })

  it('finds what is wrong', () => {
    const wrong = {
      readOnlyRootFilesystem: 'readOnlyRootFileSystem',
      'publishNotReadyAddresses: true': 'publishNotReadyAddresses: certainly',
      'scrapeTimeout:': 'scrapeTimeOut:',
      'alert:': 'alarm:',
    }
    const text = Object.entries(wrong).reduce((text, [right, fault]) => text.replace(right, fault), all())
    const problemOf = () => {
      try {
        return `${validate(text, NEWEST)} valid`
      } catch (error) {
        return (error as Error).message
      }
    }
    const problem = problemOf()
    for (const fault of ['readOnlyRootFileSystem', 'publishNotReadyAddresses', 'scrapeTimeOut', 'alarm']) expect(problem).toContain(fault)
  })
})
