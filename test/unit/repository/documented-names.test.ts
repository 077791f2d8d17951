import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { errorCatalogue } from '../../../src/platform/lib/errors.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

it('the table of errors names every error code, and no other', () => {
  const table = read('docs/operations.md').split('## Errors')[1]!.split('\n## ')[0]!
  const named = [...table.matchAll(/`([a-z]+(?:_[a-z]+)*)`/g)].map((m) => m[1]).filter((word) => !['code', 'internal'].includes(word!))
  const codes = errorCatalogue()
    .map(({ code }) => code)
    .filter((code) => code !== 'internal')
  expect([...new Set(named)].sort()).toEqual(codes.sort())
  expect(table).toContain('`internal`')
})

it('alerts use only series that exist', async () => {
  const series = await createMetrics('0').registry.getMetricsAsJSON()
  const names = new Set(series.map((s) => s.name))
  const used = new Set(
    [...read('deploy/prometheus/alerts.yml').matchAll(/portcullis_[a-z0-9_]+/g)].map((m) => m[0].replace(/_(bucket|sum|count)$/, '')),
  )
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
