/** Results of policy tests as JUnit XML, which continuous integration shows. */
import type { CaseResult } from './run-cases.ts'

export interface FileResult {
  file: string
  results: readonly CaseResult[]
}

export function junitOf(files: readonly FileResult[]): string {
  const all = files.flatMap(({ results }) => results)
  const suites = files.map(
    ({ file, results }) =>
      `  <testsuite name="${escapeXml(file)}" ${countsOf(results)}>\n${results.map((one) => caseOf(file, one)).join('\n')}\n  </testsuite>`,
  )
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="portcullis policy test" ${countsOf(all)}>\n${suites.join('\n')}\n</testsuites>\n`
}

const countsOf = (results: readonly CaseResult[]): string =>
  `tests="${results.length}" failures="${results.filter(({ faults }) => faults.length > 0).length}" errors="0"`

function caseOf(file: string, { name, where, request, caller, faults }: CaseResult): string {
  const open = `    <testcase classname="${escapeXml(file)}" name="${escapeXml(name)}"`
  if (faults.length === 0) return `${open}/>`
  const text = [where, `${request} as ${caller}`, ...faults].join('\n')
  return `${open}>\n      <failure message="${escapeXml(faults.join('; '))}">${escapeXml(text)}</failure>\n    </testcase>`
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** XML 1.0 §2.2 has no other control characters. */
const escapeXml = (text: string): string =>
  text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '\ufffd').replace(/[&<>"]/g, (char) => ENTITIES[char]!)
