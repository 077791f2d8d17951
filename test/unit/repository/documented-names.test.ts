import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { errorCatalogue } from '../../../src/platform/lib/errors.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

it('the table of errors names every error code, and no other', () => {
  const named = [...read('docs/errors.md').matchAll(/^\| \d{3} \| \[`([a-z_]+)`\]/gm)].map((m) => m[1]!)
  expect(named.sort()).toEqual(
    errorCatalogue()
      .map(({ code }) => code)
      .sort(),
  )
})

it('alerts use only series that exist', async () => {
  const series = await createMetrics('0').registry.getMetricsAsJSON()
  const names = new Set(series.map((s) => s.name))
  // what is recorded begins with `job:`; test/integration/monitoring/series.test.ts looks at labels, too
  const rules = read('deploy/prometheus/alerts.yml') + read('deploy/prometheus/slo.yml')
  const used = new Set([...rules.matchAll(/(?<!:)\bportcullis_[a-z0-9_]+/g)].map((m) => m[0].replace(/_(bucket|sum|count)$/, '')))
  expect([...used].filter((name) => !names.has(name))).toEqual([])
  expect(used.size).toBeGreaterThan(5)
})

it('the tables of docs/security.md name tests that exist', () => {
  const page = read('docs/security.md')
  const named = [...page.matchAll(/`((?:test\/[a-z/-]+\/)?[a-z-]+\.test\.ts)` › "([^"]+)"/g)]
  for (const [, file, name] of named) {
    const path = file!.startsWith('test/') ? file! : `test/security/${file}`
    expect(read(path).replace(/’/g, "'"), `${path} › ${name}`).toContain(name!.replace(/’/g, "'"))
  }
  expect(named.length).toBeGreaterThan(20)
})
