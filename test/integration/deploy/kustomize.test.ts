/** The kustomize example: it renders, it is valid, and its pod is the pod of the chart. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { runCli } from '../../support/cli.ts'
import {
  CHART,
  HELM,
  KUBECONFORM,
  KUSTOMIZE,
  type Manifest,
  manifestsOf,
  only,
  podOf,
  render,
  runTool,
  VERSIONS,
  validate,
} from '../../support/manifests.ts'
import { describeWith } from '../../support/tools.ts'

const BASE = 'deploy/kustomize/base'
const OVERLAY = 'deploy/kustomize/overlays/production'
const build = (folder: string) => runTool('kustomize', ['build', folder])

/** Labels differ: the chart also has the name of the release. */
const withoutLabels = (pod: any) => ({
  ...pod,
  topologySpreadConstraints: pod.topologySpreadConstraints.map(({ labelSelector: _, ...constraint }: any) => constraint),
})

describeWith(KUSTOMIZE, 'the kustomize example', () => {
  it('renders what it rendered before', async () => {
    await expect(build(OVERLAY)).toMatchFileSnapshot('golden/kustomize/production.yaml')
  })

  it.each([BASE, OVERLAY])('%s: the gateway accepts the configuration, which names the number of pods', async (folder) => {
    const manifests = manifestsOf(build(folder))
    const { data } = only(manifests, 'ConfigMap')
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-config-'))
    const file = join(dir, 'portcullis.yaml')
    writeFileSync(file, data['portcullis.yaml'])
    const env = { DATABASE_URL: 'postgres://a:b@db/c', REDIS_URL: 'redis://redis:6379' }
    expect(await runCli(['check', '--strict', file], env)).toMatchObject({ code: 0, stdout: 'the configuration is valid\n' })
    expect(parse(data['portcullis.yaml'])).toMatchObject({
      server: { replicas: only(manifests, 'Deployment').spec.replicas },
      reload: { watch: true },
    })
    rmSync(dir, { recursive: true })
  })

  it('a change of the configuration replaces no pod: the name of the ConfigMap stays', () => {
    const manifests = manifestsOf(build(OVERLAY))
    expect(only(manifests, 'ConfigMap').metadata.name).toBe('portcullis')
    expect(podOf(only(manifests, 'Deployment')).volumes[0]).toEqual({ name: 'config', configMap: { name: 'portcullis' } })
  })

  describeWith(HELM, 'beside the chart', () => {
    const both = () =>
      [manifestsOf(build(BASE)), render({ files: [`${CHART}/ci/minimal.yaml`], set: ['image.repository=portcullis'] })] as const

    it('has the same pod', () => {
      const [own, charts] = both().map((manifests) => withoutLabels(podOf(only(manifests, 'Deployment'))))
      own.containers[0].image = charts.containers[0].image
      expect(own).toEqual(charts)
    })

    it('has the same rules of the network', () => {
      const rules = (manifests: Manifest[]) => {
        const { ingress, egress } = only(manifests, 'NetworkPolicy', 'portcullis').spec
        return { ingress, egress }
      }
      const [own, charts] = both()
      expect(rules(own)).toEqual(rules(charts))
    })
  })

  describeWith(KUBECONFORM, 'kubeconform', () => {
    it.each(VERSIONS)('finds every manifest valid in Kubernetes %s', (version) => {
      const text = [build(BASE), build(OVERLAY)].join('\n---\n')
      expect(validate(text, version)).toBe(manifestsOf(text).length)
    })
  })
})
