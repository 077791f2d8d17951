/** The generated pages agree with the code, and what the guide to errors names exists. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { errorGuide } from '../../../src/platform/lib/error-guide.ts'
import { errorCatalogue } from '../../../src/platform/lib/errors.ts'
import { guideOf } from '../../../src/platform/reference/errors-page.ts'
import { referencePages } from '../../../src/platform/reference/pages.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'
import { commandTree } from '../../support/cli.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
const advice = Object.values(errorGuide).flatMap((guide) => Object.values(guide) as string[])

it.each(referencePages())('%s is current: npm run schema', (file, text) => {
  expect(read(file)).toBe(text)
})

it('docs/errors.md names every error code once, and no other', () => {
  const named = [...read('docs/errors.md').matchAll(/^### (\w+)$/gm)].map(([, code]) => code)
  expect(named.sort()).toEqual(
    errorCatalogue()
      .map(({ code }) => code)
      .sort(),
  )
})

it('docs/metrics.md names every metric once, and no other', async () => {
  const named = [...read('docs/metrics.md').matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)
  const own = (await createMetrics('0').registry.getMetricsAsJSON())
    .map(({ name }) => name)
    .filter((name) => name.startsWith('portcullis_'))
  expect(named).toEqual(own.sort())
  expect(read('docs/metrics.md')).toContain('| `portcullis_http_requests_total` | counter | `method`, `route`, `status` |')
})

it('an error code without its guide is named, with the file that lacks it', () => {
  expect(() => guideOf('not_found', {})).toThrow('not_found has no entry in src/platform/lib/error-guide.ts')
})

it('every error says when it occurs and what to do, in sentences', () => {
  expect(advice.length).toBe(3 * errorCatalogue().length)
  expect(advice.filter((text) => !/^[A-Z`].*\.$/.test(text))).toEqual([])
  expect(errorCatalogue().filter(({ detail }) => !/^[A-Z].*\.$/.test(detail))).toEqual([])
})

it('the settings, commands and metrics that the advice names exist', () => {
  const names = advice.flatMap((text) => [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name!))
  const reference = read('docs/configuration.md')
  const settings = names
    .filter((name) => /^(?:server|auth|limits|tokens|match|body)\.[a-zA-Z.]+/.test(name))
    .map((name) => name.split(':')[0]!)
  expect(settings.length).toBeGreaterThan(5)
  expect(settings.filter((name) => !reference.includes(`${name}\``))).toEqual([])

  const program = commandTree()
  const commands = names.filter((name) => name.startsWith('portcullis ')).map((name) => name.split(' ').slice(1))
  expect(commands.length).toBeGreaterThan(5)
  const isKnown = (words: string[]) =>
    words.reduce<{ commands: readonly any[] } | undefined>((at, word) => at?.commands.find((c) => c.name() === word), program)
  expect(commands.filter((words) => !isKnown(words))).toEqual([])

  const metrics = createMetrics('0').registry
  expect(names.filter((name) => name.startsWith('portcullis_') && !metrics.getSingleMetric(name))).toEqual([])
})
