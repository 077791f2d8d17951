/** Writes the generated files: `npm run schema`. With `--check` it only reports whether they are up to date: `npm run schema:check`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { referencePages } from './pages.ts'

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Null: a page cannot be made, and the reason was printed. */
function makePages(): ReturnType<typeof referencePages> | null {
  try {
    return referencePages()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return null
  }
}

const pages = makePages()
if (!pages) process.exitCode = 1
else if (process.argv.includes('--check')) {
  const stale = pages.filter(([file, text]) => read(file) !== text).map(([file]) => file)
  if (stale.length) {
    process.stderr.write(`out of date with the code: ${stale.join(', ')}; run: npm run schema\n`)
    process.exitCode = 1
  }
} else for (const [file, text] of pages) writeFileSync(file, text)
