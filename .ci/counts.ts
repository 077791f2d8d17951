/** Prints `N passed, N failed` from a JUnit file. The exit code is 1 after a failure or without tests. */
import { readFileSync } from 'node:fs'

const [root = ''] = /<testsuites [^>]*>/.exec(readFileSync(process.argv[2]!, 'utf8')) ?? []
const count = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0)
const failed = count('failures') + count('errors')
console.log(`${count('tests') - failed} passed, ${failed} failed`)
process.exit(failed === 0 && count('tests') > 0 ? 0 : 1)
