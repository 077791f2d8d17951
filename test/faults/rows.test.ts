/** Short forms of `npm run test:faults`: the rows of the fault matrix that need only seconds. */
import { afterEach, expect, it, vi } from 'vitest'
import { endAll, spawnOwn } from './harness/cleanup.ts'
import { skipped } from './harness/fault-row.ts'
import { readRows } from './harness/read-rows.ts'
import { withRows } from './harness/table.ts'

const ALL = await readRows()
const ROWS = ALL.filter(({ isQuick }) => isQuick)

afterEach(async () => {
  expect(await endAll()).toEqual([])
}, 60_000)

it.each(ROWS.map((row) => [row.id, row.fault, row.promise, row] as const))(
  '%s: %s: %s',
  { timeout: 90_000 },
  async (_id, _fault, _promise, row) => {
    const { broken, what, counts } = await row.run({ short: true, seed: 1 })
    expect(broken, `${what}; ${counts}`).toEqual([])
  },
)

it('the table keeps the lines of rows that were not run, in the order of the matrix', () => {
  const line = (id: string, broken: string[]) => ({
    row: { ...ALL[0]!, id, fault: 'f', promise: 'p' },
    result: { what: 'w', counts: 'a|b', broken },
  })
  const page = 'before\n<!-- generated: faults -->\n<!-- end -->\nafter\n'
  const first = withRows(page, [line('R10', []), line('D2', [])])
  const second = withRows(first, [line('R2', ['2 tokens\nlost', '3 tokens\nlost'])])
  expect(second.split('\n').filter((l) => /^\| [A-Z]\d/.test(l))).toEqual([
    '| D2 | f | w | a\\|b | held: p |',
    '| R2 | f | w | a\\|b | **missed**: 2 tokens |',
    '| R10 | f | w | a\\|b | held: p |',
  ])
  const skippedLine = line('D2', [])
  expect(withRows(second, [{ ...skippedLine, result: skipped('no root') }])).toBe(second)
  expect(second).toMatch(/^before\n<!-- generated: faults -->\n\| id [\s\S]*<!-- end -->\nafter\n$/)
})

it('a process that has ended gets no signal: its id may be another process’s', async () => {
  const ended = spawnOwn('true', [], { logFile: '/dev/null' })
  await ended.exit
  const kill = vi.spyOn(process, 'kill')
  ended.killTree()
  ended.signal('SIGTERM')
  await ended.stop()
  expect(kill).not.toHaveBeenCalled()
  kill.mockRestore()
})
