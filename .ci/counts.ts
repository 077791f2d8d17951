/** `N passed, N failed, N skipped` from a JUnit file. */
import { readFileSync } from 'node:fs'

const [root = ''] = /<testsuites [^>]*>/.exec(readFileSync(process.argv[2]!, 'utf8')) ?? []
const count = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0)
const failed = count('failures') + count('errors')
console.log(`${count('tests') - failed} passed, ${failed} failed`)
process.exit(failed === 0 && count('tests') > 0 ? 0 : 1)
