/** docs/asvs.md is complete, and everything that it refers to exists. */
import { existsSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { configWith } from '../../support/config.ts'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
const page = read('docs/asvs.md')

/** OWASP ASVS 5.0.0: the requirements of chapters V6 to V10, and of V3 for cookies, that can apply to a gateway with accounts, by level. */
const APPLICABLE = {
  1: `3.3.1 3.5.1 3.5.2 3.5.3
      6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2 7.2.1 7.2.2 7.2.3 7.2.4 7.4.1 7.4.2
      8.1.1 8.2.1 8.2.2 8.3.1 9.1.1 9.1.2 9.1.3 9.2.1 10.4.1 10.4.2 10.4.3 10.4.4 10.4.5`,
  2: `3.3.2 3.3.3 3.3.4
      6.1.2 6.1.3 6.2.9 6.2.10 6.2.11 6.2.12 6.3.3 6.3.4 6.4.3 6.4.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5 6.6.2 6.6.3 6.8.1 6.8.2 6.8.4
      7.1.1 7.1.2 7.1.3 7.3.1 7.3.2 7.4.3 7.4.5 7.5.1 7.5.2 7.6.1 7.6.2 8.1.2 8.2.3 8.4.1 9.2.2 9.2.3 9.2.4
      10.1.1 10.1.2 10.2.1 10.2.2 10.3.1 10.3.2 10.3.3 10.3.4 10.4.6 10.4.7 10.4.8 10.4.9 10.4.10 10.4.11
      10.5.1 10.5.2 10.5.3 10.5.4 10.5.5`,
}

const rows = [...page.matchAll(/^\| (V\d\S*) \| (\S+) \| ([^|]+) \| \*\*([^*|]+)\*\*(:| for )([^|]+) \|$/gm)].map(
  ([, id, level, , verdict, , text]) => ({ id: id!, level: level!, verdict: verdict!, text: text! }),
)
const counted = (verdict: string) => rows.filter((row) => row.verdict === verdict).length

it('it has every applicable requirement once, at its level, and no other', () => {
  const expected = Object.entries(APPLICABLE).flatMap(([level, ids]) => ids.split(/\s+/).map((id) => `V${id} ${level}`))
  expect(rows.map(({ id, level }) => `${id} ${level}`).sort()).toEqual(expected.sort())
  expect(page.match(/^\| V\d/gm)).toHaveLength(expected.length)
})

it('there are three verdicts, and their counts are right', () => {
  const counts = ['met', 'not met', 'not ours'].map(counted)
  expect(counts.reduce((sum, n) => sum + n)).toBe(rows.length)
  expect(page).toContain(`| met | not met | not ours |\n|---|---|---|\n| ${counts.join(' | ')} |\n`)
})

it('every named test exists', () => {
  for (const { id, text } of rows) {
    let path = ''
    for (const [, file, name] of text.matchAll(/(?:`(test\/[a-z/-]+\.test\.ts)`|and|,) › "([^"]+)"/g)) {
      path = file ?? path
      expect(read(path), `${id}: ${path} › ${name}`).toContain(name)
    }
    // the pattern above has found every reference to a test
    expect(text.match(/›/g)?.length ?? 0, id).toBe([...text.matchAll(/(?:test\.ts`|and|,) › "/g)].length)
  }
})

it('every requirement that is met names a test, a file or a section', () => {
  const anchors = [...page.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title!.toLowerCase().replaceAll(' ', '-'))
  for (const { id, verdict, text } of rows.filter((row) => row.verdict === 'met')) {
    const files = [...text.matchAll(/`(src\/[^`]+)`/g)].map(([, file]) => file!)
    const sections = [...text.matchAll(/\(#([^)]+)\)/g)].map(([, anchor]) => anchor!)
    expect(text.includes('›') || files.length + sections.length > 0, `${id} is ${verdict}`).toBe(true)
    expect(files.filter((file) => !existsSync(new URL(`../../../${file}`, import.meta.url)))).toEqual([])
    expect(sections.filter((section) => !anchors.includes(section))).toEqual([])
  }
})

it('its defaults and settings agree with the configuration', () => {
  const config = configWith({})
  const at = (path: string) => path.split('.').reduce<any>((part, name) => part?.[name], config)
  const defaults = [...page.matchAll(/^\| `([a-z.A-Z]+)` \| (\d+)(?: in (\d+) s)? \|/gm)]
  for (const [, path, value, windowSeconds] of defaults)
    expect(at(path!), path).toEqual(windowSeconds ? { limit: Number(value), windowSeconds: Number(windowSeconds) } : Number(value))
  expect(defaults.filter(([, path]) => path!.startsWith('limits')).map(([, path]) => path!.split('.')[2])).toEqual(
    expect.arrayContaining(Object.keys(config.limits.credentials)),
  )
  const reference = read('docs/configuration.md')
  for (const [, path] of page.matchAll(/`((?:auth|tokens|limits|server)\.[a-zA-Z.]+)/g)) expect(reference, path).toContain(path)
})

it('its counts of common passwords are right', () => {
  const { minLength } = configWith({}).auth.password
  const lines = read('src/identity/credentials/common-passwords.txt').split('\n')
  const entries = lines.filter((line) => line !== '' && !line.startsWith('# '))
  const long = entries.filter((entry) => entry.length >= minLength)
  expect(page).toContain(
    `of the ${entries.length.toLocaleString('en')} words of the list ${long.length} have ${minLength} characters or more`,
  )
})
