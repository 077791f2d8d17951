/** One clock: the time is read in one file, so that a test can move it wherever something is decided by it. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { readImports } from '../../support/imports.ts'

const READING =
  /\b(?:Date\.now|performance\.(?:now|timeOrigin)|process\.(?:hrtime|uptime))\b|\bnew Date(?:\(\s*\)|(?!\w|\())|(?<!new )\bDate\(/
const CLOCK = 'src/platform/lib/clock.ts'

it.each([
  ['Date.now()', true],
  ['now = Date.now', true],
  ['performance.now()', true],
  ['process.hrtime.bigint()', true],
  ['new Date()', true],
  ['new Date', true],
  ['Date()', true],
  ['new Date(text)', false],
  ['at: Date', false],
  ['toDate(text)', false],
  ['clock.now()', false],
])('%s reads the time: %s', (text, isReading) => {
  expect(READING.test(text)).toBe(isReading)
})

it('the time is read in one file', async () => {
  const files = [...new Set((await readImports()).map(({ from }) => from)), CLOCK]
  const readings = files.flatMap((file) => {
    const lines = readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8').split('\n')
    return lines.flatMap((line, i) => (READING.test(line) ? [{ file, at: `${file}:${i + 1} ${line.trim()}` }] : []))
  })
  expect(readings.filter(({ file }) => file !== CLOCK).map(({ at }) => at)).toEqual([])
  expect(readings.length).toBeGreaterThan(0)
})
