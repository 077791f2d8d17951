/** Renders the Helm chart and the kustomize example, and checks manifests against the schemas of Kubernetes. */
import { execFileSync } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { TOOL_PATH } from './processes.ts'
import type { Tool } from './tools.ts'

export const CHART = 'deploy/helm/portcullis'
export const OLDEST = '1.30.0'
export const NEWEST = '1.37.0'
/** The versions of Kubernetes for which manifests are checked. */
export const VERSIONS = [OLDEST, '1.34.0', NEWEST]

const BY_CI = '.ci/run installs it, as CONTRIBUTING.md says'
export const HELM: Tool = { program: 'helm', remedy: BY_CI }
export const KUBECONFORM: Tool = { program: 'kubeconform', remedy: BY_CI }
export const KUSTOMIZE: Tool = { program: 'kustomize', remedy: BY_CI }

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  [key: string]: any
}

/** @throws with what the program printed on standard error */
export function runTool(program: string, args: string[]): string {
  try {
    return execFileSync(program, args, { env: { PATH: TOOL_PATH, HOME: homedir() }, encoding: 'utf8', stdio: 'pipe', maxBuffer: 1e8 })
  } catch (error) {
    const { stderr, stdout } = error as { stderr: string; stdout: string }
    throw new Error(`${program} ${args.join(' ')}\n${stderr}${stdout}`)
  }
}

export interface RenderOptions {
  /** Files of values. */
  files?: string[]
  /** As with `--set`. */
  set?: string[]
  /** Further values. */
  values?: object
  kubernetes?: string
  chart?: string
}

/** The text of `helm template`. */
export function renderText({ files = [], set = [], values, kubernetes = OLDEST, chart = CHART }: RenderOptions): string {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-values-'))
  try {
    const own = join(dir, 'values.json')
    writeFileSync(own, JSON.stringify(values ?? {}))
    const given = [...files, own].flatMap((file) => ['--values', file])
    const settings = set.flatMap((setting) => ['--set', setting])
    return runTool('helm', [
      ...['template', 'portcullis', chart, '--namespace', 'gateway', '--kube-version', kubernetes],
      ...given,
      ...settings,
    ])
  } finally {
    rmSync(dir, { recursive: true })
  }
}

export const manifestsOf = (text: string): Manifest[] =>
  parseAllDocuments(text)
    .map((document) => {
      const [error] = document.errors
      if (error) throw error
      return document.toJS() as Manifest | null
    })
    .filter((manifest) => manifest !== null)

export const render = (options: RenderOptions): Manifest[] => manifestsOf(renderText(options))

export function only(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.filter((manifest) => manifest.kind === kind && (name === undefined || manifest.metadata.name === name))
  if (found.length !== 1)
    throw new Error(`${found.length} of ${kind} ${name ?? ''}: ${manifests.map((m) => `${m.kind} ${m.metadata.name}`)}`)
  return found[0]!
}

/** Of the Python package kubernetes-validate. */
const SCHEMAS = join(homedir(), '.cache/portcullis/python-tools/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema')

/** @throws when they are missing */
function schemasOf(kubernetes: string): string {
  const [folder] = globSync(`${SCHEMAS}/v${kubernetes}-local-strict`)
  if (folder === undefined) throw new Error(`the schemas of Kubernetes ${kubernetes} are missing: ${BY_CI}`)
  return folder
}

/** @returns the number of manifests that were found valid. @throws with each problem */
export function validate(text: string, kubernetes: string): number {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-manifests-'))
  try {
    writeFileSync(join(dir, 'all.yaml'), text)
    writeSchemas(schemasOf(kubernetes), dir)
    const output = runTool('kubeconform', [
      ...['-strict', '-output', 'json', '-summary', '-kubernetes-version', kubernetes],
      ...['-schema-location', `${dir}/{{.ResourceKind}}{{.KindSuffix}}.json`, join(dir, 'all.yaml')],
    ])
    return JSON.parse(output).summary.valid
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** Those of Kubernetes, whose references are made relative, and those of the Prometheus operator, from its definitions. */
function writeSchemas(source: string, folder: string): void {
  for (const file of readdirSync(source).filter((name) => KINDS.test(name))) {
    const { $id: _, ...schema } = JSON.parse(readFileSync(join(source, file), 'utf8'))
    writeFileSync(join(folder, file), JSON.stringify(schema).replaceAll('"/api/_definitions.json#', '"_definitions.json#'))
  }
  for (const file of globSync('test/integration/deploy/crds/*.yaml')) {
    const { spec } = parse(readFileSync(file, 'utf8'))
    const schema = strict(spec.versions[0].schema.openAPIV3Schema)
    writeFileSync(join(folder, `${spec.names.singular}-${spec.group.split('.')[0]}-v1.json`), JSON.stringify(schema))
  }
}
const KINDS =
  /^(?:_definitions|configmap|deployment|horizontalpodautoscaler|ingress|job|namespace|networkpolicy|pod|poddisruptionbudget|service)(?:-[a-z]+)?(?:-v\d+)?\.json$/

/** The API server drops fields that a custom resource does not have. Here they are an error. */
function strict(schema: any): any {
  if (Array.isArray(schema)) return schema.map(strict)
  if (typeof schema !== 'object' || schema === null) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]))
  const isClosed = schema.type === 'object' && schema.properties && !schema['x-kubernetes-preserve-unknown-fields']
  // the metadata is described elsewhere
  return isClosed ? { additionalProperties: false, ...inner } : inner
}

/** The pod of a Deployment, a Job or a Pod. Null: the manifest has no pod. */
export const podOf = ({ kind, spec }: Manifest): any =>
  kind === 'Pod' ? spec : ['Deployment', 'Job'].includes(kind) ? spec.template.spec : null

export const containersOf = (pod: any): any[] => [...(pod.initContainers ?? []), ...pod.containers]
