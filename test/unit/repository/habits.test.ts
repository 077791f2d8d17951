import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { parseDocument } from 'yaml'
import { findBrowser } from '../../support/browser.ts'

const read = (path: string) => readFileSync(path, 'utf8')
const workflows = readdirSync('.github/workflows')
const yamlOf = (path: string) => {
  const document = parseDocument(read(path), { uniqueKeys: true, strict: true })
  expect([...document.errors, ...document.warnings], path).toEqual([])
  return document.toJS()
}
interface Job {
  uses?: string
  needs?: string
  steps?: { uses?: string; run?: string; id?: string; with?: Record<string, unknown> }[]
  permissions?: Record<string, string>
  'timeout-minutes'?: number
}
const jobsOf = (file: string): [string, Job][] => Object.entries(yamlOf(`.github/workflows/${file}`).jobs)

it.each(workflows)('the workflow %s may do little by default, and each of its jobs has an end', (file) => {
  expect(yamlOf(`.github/workflows/${file}`).permissions).toEqual({ contents: 'read' })
  for (const [name, job] of jobsOf(file)) {
    if (!job.uses) expect(job['timeout-minutes'], name).toBeGreaterThan(0)
    for (const step of job.steps ?? []) {
      expect(Boolean(step.uses) !== Boolean(step.run), JSON.stringify(step)).toBe(true)
      if (step.uses) expect(step.uses).toMatch(/^[\w-]+\/[\w-]+@v\d+/)
    }
  }
})

it('the checks run what a person runs', () => {
  expect(yamlOf('.github/workflows/ci.yml').jobs.checks.steps.map((step: { run?: string }) => step.run)).toContain('bash .ci/run')
})

it('a release waits for the checks and publishes an image with SBOM and provenance', () => {
  const { on, jobs } = yamlOf('.github/workflows/release.yml')
  expect(Object.keys(on)).toEqual(['push'])
  expect(jobs.checks.uses).toBe('./.github/workflows/ci.yml')
  expect(jobs.image.needs).toBe('checks')
  const build = jobs.image.steps.find((step: { id?: string }) => step.id === 'build')
  expect(build.with).toMatchObject({ file: 'deploy/Dockerfile', push: true, sbom: true, provenance: 'mode=max' })
  expect(jobs.image.steps.at(-1).uses).toMatch(/^actions\/attest-build-provenance@/)
  // what the Dockerfile asks for is what the workflow gives
  const asked = [...read('deploy/Dockerfile').matchAll(/^ARG (VERSION|REVISION|SOURCE)=/gm)].map((m) => m[1])
  expect(build.with['build-args'].match(/^\w+/gm)).toEqual(asked)
})

it('dependency updates cover packages, images and workflows', () => {
  const { version, updates } = yamlOf('.github/dependabot.yml')
  expect(version).toBe(2)
  expect(updates.map((update: { 'package-ecosystem': string }) => update['package-ecosystem'])).toEqual(['npm', 'docker', 'github-actions'])
})

it('CONTRIBUTING.md names only npm scripts and files that exist', () => {
  const text = read('CONTRIBUTING.md')
  const { scripts } = JSON.parse(read('package.json'))
  const named = [...text.matchAll(/npm run ([\w:-]+)/g)].map((m) => m[1]!)
  expect(named.filter((name) => !(name in scripts))).toEqual([])
  expect(named.length).toBeGreaterThan(8)
  for (const [, path] of text.matchAll(/`((?:src|test|docs|migrations|config|bin)\/[\w./-]*)`/g))
    expect(() => readPath(path!), path).not.toThrow()
})
const readPath = (path: string) => (path.endsWith('/') ? readdirSync(path) : read(path))

it('the editor and the formatter agree', () => {
  const editor = read('.editorconfig')
  const { formatter } = JSON.parse(read('biome.json'))
  expect(editor).toContain(`indent_size = ${formatter.indentWidth}\n`)
  expect(editor).toContain(`max_line_length = ${formatter.lineWidth}\n`)
})

it('without a browser, the browser tests say what to install', () => {
  expect(() => findBrowser('/nowhere')).toThrow(
    'None of chromium, chromium-browser, google-chrome is on PATH. On Debian: apt-get install chromium',
  )
})
