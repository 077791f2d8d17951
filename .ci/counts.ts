/** Prints `N passed, N failed` for all the JUnit files together. The exit code is 1 after a failure, or when a file holds no tests. */
import { readFileSync } from 'node:fs'

const runs = process.argv.slice(2).map((file) => {
  const text = readFileSync(file, 'utf8')
  const [root = ''] = /<testsuites [^>]*>/.exec(text) ?? []
  const count = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0)
  // the root element does not count them
  const skipped = text.split('<skipped').length - 1
  return { tests: count('tests') - skipped, failed: count('failures') + count('errors') }
})
const sum = (numbers: number[]): number => numbers.reduce((total, n) => total + n, 0)
const [tests, failed] = [sum(runs.map((run) => run.tests)), sum(runs.map((run) => run.failed))]
console.log(`${tests - failed} passed, ${failed} failed`)
process.exit(failed === 0 && runs.length > 0 && runs.every((run) => run.tests > 0) ? 0 : 1)
