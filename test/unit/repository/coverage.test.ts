import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import config from '../../../vitest.config.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const thresholds = Object.keys((config as { test: { coverage: { thresholds: object } } }).test.coverage.thresholds)

// Vitest ignores a threshold whose pattern matches no file
it.each(thresholds)('the coverage threshold of %s matches files', (pattern) => {
  expect(globSync(pattern, { cwd: ROOT }).filter((file) => file.endsWith('.ts')).length).toBeGreaterThan(10)
})

it('identity and proxy have a threshold each', () => {
  expect(thresholds).toEqual(expect.arrayContaining(['src/identity/**', 'src/proxy/**']))
})
