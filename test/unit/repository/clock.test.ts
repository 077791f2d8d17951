/** Only one file reads the time, so that tests can move it for every decision that depends on it. */
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

it('only one file reads the time', async () => {
  const files = [...new Set((await readImports()).map(({ from }) => from)), CLOCK]
  const readings = files.flatMap((file) => {
    const lines = readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8').split('\n')
    return lines.flatMap((line, i) => (READING.test(line) ? [{ file, at: `${file}:${i + 1} ${line.trim()}` }] : []))
  })
  expect(readings.filter(({ file }) => file !== CLOCK).map(({ at }) => at)).toEqual([])
  expect(readings.length).toBeGreaterThan(0)
})
