/**
 * Removes a part of the gateway that no configuration can remove: `WITHOUT=canonical node --import ./load/compare/without.ts src/cli.ts
 * serve`. Only for measurements. Each pattern must match its source file exactly once: an unchanged gateway would be measured as if the
 * part cost nothing.
 */
import { accessSync } from 'node:fs'
import { registerHooks } from 'node:module'

type Edit = (source: string) => string

function edit(pattern: RegExp, replacement: (found: string) => string): Edit {
  return (source) => {
    const found = source.match(new RegExp(pattern, 'g')) ?? []
    if (found.length !== 1) throw new Error(`without.ts: ${found.length} places match ${pattern}; exactly 1 must match`)
    return source.replace(pattern, replacement)
  }
}
/** Makes the function return at its beginning. */
const answer = (head: RegExp, code: string): Edit => edit(head, (found) => `${found} { ${code} }`)
const all =
  (...edits: Edit[]): Edit =>
  (source) =>
    edits.reduce((text, change) => change(text), source)

const PARTS: Record<string, { module: string; edit: Edit }> = {
  observation: { module: 'app/observe.ts', edit: answer(/\bbegin\([^)]*\) \{/, 'return') },
  canonical: {
    module: 'proxy/routing/request-target.ts',
    edit: all(
      answer(
        /\bfunction readTarget\([^{]*\{/,
        `const url = arguments[0], mark = url.indexOf('?'), path = mark < 0 ? url : url.slice(0, mark);
        return { path, query: mark < 0 ? '' : url.slice(mark), folded: path.toLowerCase(), forms: 0, hasReadings: false }`,
      ),
      answer(/\bfunction matchTarget\([^{]*\{/, 'const [table, host, target] = arguments; return table.find(host, target.folded)'),
      answer(/\bfunction repeatedField\([^{]*\{/, 'return null'),
    ),
  },
  revocation: { module: 'identity/sessions/revocations.ts', edit: answer(/\bisRevoked\([^)]*\) \{/, 'return false') },
  identity: { module: 'proxy/forward/headers.ts', edit: edit(/out\.push\(\.\.\.[\w.]*identityHeaders\)/, () => 'void 0') },
}

const part = PARTS[process.env.WITHOUT ?? '']
if (!part) throw new Error(`WITHOUT must be one of ${Object.keys(PARTS).join(', ')}`)
const file = new URL(`../../src/${part.module}`, import.meta.url)
accessSync(file)

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    return url === file.href ? { ...loaded, source: part.edit(String(loaded.source)) } : loaded
  },
})
