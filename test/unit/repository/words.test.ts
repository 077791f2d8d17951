/** The vocabulary: words that were replaced do not come back. The only file that may contain them is this one. */
import { globSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const ROOT = new URL('../../../', import.meta.url)
const FILES = ['src/**/*', 'test/**/*', 'load/**/*', 'docs/**/*', 'README.md']
const TEXT = /\.(?:ts|js|mjs|md|json|jsonc|yaml|yml)$/
const EXCLUDED = ['test/unit/repository/words.test.ts', 'src/identity/credentials/common-passwords.txt']

/** Folders whose comments and texts are in plain English. */
const PLAIN_FOLDERS = ['src/platform/', 'src/proxy/', 'src/app/', 'src/commands/', 'src/demo/', 'src/identity/', 'test/']

/** [former identifier, present name, an example of the former]. They may occur nowhere. */
const IDENTIFIERS: [former: RegExp, present: string, example: string][] = [
  [/\bdemand[A-Z]\w*/, 'assert… or require…', 'demandFresh('],
  [/\btelling\b/, 'countOutcome', 'telling('],
  [/\btellOf\b/, 'logUncaught', 'tellOf('],
  [/\btellLocations\b/, 'rewriteLocations', 'tellLocations('],
  [/\bisTold\b/, 'isReported', 'isTold:'],
  [/\bisWayOut\b/, 'allowIncomplete', 'isWayOut:'],
  [/\bHABITS\b/, 'NORMALIZATIONS', 'HABITS.map('],
  [/\bpassOn\b/, 'dispatchOnce', 'passOn('],
  [/\bfateOf\b/, 'ruleFor', 'fateOf('],
  [/\bremembering\b/, 'memoize', 'remembering('],
  [/GuessLimit|guess-limit/, 'InvalidTokenLimit, invalid-token-limit', 'createGuessLimit('],
  [/\b[oO]ccasion(?:Of)?\b/, 'NoticeContext, noticeContextOf', 'occasion: Occasion'],
  [/\bLetter\b|\bletterOf\b|\.letters\b/, 'Message, messageOf', '(letter: Letter)'],
  [/\bDeferred\b|createDeferred/, 'BackgroundQueue', 'createDeferred('],
  [/\b(?:create)?[eE]ntering\b/, 'LoginCompletion', 'createEntering('],
  [/\b[tT]allies\b/, 'fast-metrics', './tallies.ts'],
  [/\bActs\b|createActs|\/acts\.ts/, 'AuditedAction, audited-action', 'acts: Acts'],
  [/\bPlace\b/, 'UpstreamSlot, SecretLocation, or what else the type holds', '(place: Place)'],
  [/\b(?:Client|Request)Origin\b/, 'RequestContext', 'origin: ClientOrigin'],
  [/\bStories\b/, 'Services', 'stories: Stories'],
  [/(?:interface|type) Words\b|: Words\b/, 'Args', '(words: Words)'],
  [/\bdead-token\b|\bdeadToken\b/, 'inactive-token, inactiveToken', './dead-token.ts'],
]

/** [word, usual word, an example]. They may not occur in the folders above. */
const WORDS: [word: RegExp, usual: string, example: string][] = [
  [/\btold\b/i, 'reported, sent, shown, logged', '// The user is told.'],
  [/\b(?:who|is|are) well\b/i, 'healthy', '// only who is well'],
  [/\bwhoever\b/i, 'the noun', '// Whoever asks first'],
]

function linesWith(word: RegExp, isIn: (file: string) => boolean): string[] {
  return files
    .filter(({ file }) => isIn(file))
    .flatMap(({ file, lines }) => lines.flatMap((line, i) => (word.test(line) ? [`${file}:${i + 1} ${line.trim()}`] : [])))
}

const files = globSync(FILES, { cwd: ROOT })
  .filter((file) => TEXT.test(file) && !EXCLUDED.includes(file))
  .map((file) => ({ file, lines: readFileSync(new URL(file, ROOT), 'utf8').split('\n') }))

it('reads the files', () => {
  const names = files.map(({ file }) => file)
  expect(names).toEqual(
    expect.arrayContaining(['README.md', 'docs/architecture.md', 'src/cli.ts', 'test/support/gateway.ts', 'load/run.ts']),
  )
  for (const folder of PLAIN_FOLDERS) expect(names.filter((name) => name.startsWith(folder)).length, folder).toBeGreaterThan(0)
})

it.each([...IDENTIFIERS, ...WORDS])('%s is found where it occurs', (word, _, example) => {
  expect(word.test(example)).toBe(true)
})

it.each(IDENTIFIERS)('%s occurs nowhere: it is called %s', (word) => {
  expect(linesWith(word, () => true)).toEqual([])
})

it.each(WORDS)('%s is not used where texts are plain: write %s', (word) => {
  expect(linesWith(word, (file) => PLAIN_FOLDERS.some((folder) => file.startsWith(folder)))).toEqual([])
})
