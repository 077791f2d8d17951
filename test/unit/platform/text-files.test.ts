import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../../src/app/load-config.ts'
import { textsAsYaml } from '../../../src/commands/texts.ts'
import { formatProblem } from '../../../src/platform/config/source.ts'
import { de } from '../../../src/platform/texts/de.ts'
import { en } from '../../../src/platform/texts/en.ts'
import { readTextFiles, readTexts } from '../../../src/platform/texts/text-files.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-texts-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const problemsIn = (content: string) => readTexts('de.yaml', content).problems.map(formatProblem)

describe('a file of texts', () => {
  it('replaces single texts, and leaves the others as they are', () => {
    const { texts, problems } = readTexts('de.yaml', 'login.title: Willkommen\npage.request-id: "Nummer {id}"\n')
    expect(problems).toEqual([])
    const [german] = createTexts(['de'], { de: texts }).languages
    expect(german!.text('login.title')).toBe('Willkommen')
    expect(german!.text('page.request-id', { id: 7 })).toBe('Nummer 7')
    expect(german!.text('page.back')).toBe(de['page.back'])
  })

  it('adds a language. What it leaves out is English, or the language without its region', () => {
    const texts = createTexts(['fr', 'de-AT'], { fr: { 'login.title': 'Connexion' } })
    expect(texts.of('fr').text('login.title')).toBe('Connexion')
    expect(texts.of('fr').text('page.back')).toBe(en['page.back'])
    expect(texts.of('de-AT').text('page.back')).toBe(de['page.back'])
  })

  it.each([
    ['login.titel: x', 'de.yaml:1:1: login.titel: there is no such text; did you mean login.title?'],
    ['\n\nzzzzzzzzzzzzzzzzzzzz: x', 'de.yaml:3:1: zzzzzzzzzzzzzzzzzzzz: there is no such text; portcullis texts prints all keys'],
    ['login.title:', 'de.yaml:1:1: login.title: must be a text; put the text in quotes'],
    ['login.title: 7', 'de.yaml:1:1: login.title: must be a text; put the text in quotes'],
    ['login.title: yes', null],
    ['login.title: [a]', 'de.yaml:1:1: login.title: must be a text; put the text in quotes'],
    ['login.title: " "', 'de.yaml:1:1: login.title: is empty; leave the key out to keep the text that is built in'],
    ['login.title: "a\\nb"', 'de.yaml:1:1: login.title: has a line break or a control character; write it in one line'],
    ['page.request-id: Nummer', 'de.yaml:1:1: page.request-id: leaves out {id}; this text has {id}, each in braces'],
    ['page.request-id: "{id} {name}"', 'de.yaml:1:1: page.request-id: {name} has no value here; this text has {id}, each in braces'],
    ['login.title: "Hallo {name}"', 'de.yaml:1:1: login.title: {name} has no value here; this text has no value in braces'],
    ['__proto__: x', 'de.yaml:1:1: __proto__: there is no such text; portcullis texts prints all keys'],
    ['- login.title', 'de.yaml:1:1: is not a mapping; write one text a line, such as login.title: Log in'],
  ])('%j: %s', (content, problem) => {
    expect(problemsIn(content)).toEqual(problem === null ? [] : [problem])
  })

  it('that is no YAML is named with the line', () => {
    const [problem] = problemsIn('login.title: a\n"login.submit: b\n')
    expect(problem).toMatch(/^de\.yaml:\d:\d+: /)
  })

  it('reports every problem, of every file', () => {
    expect(problemsIn('login.titel: x\nlogin.submit:\npage.back: "{x}"')).toHaveLength(3)
    writeFileSync(join(dir, 'a.yaml'), 'nothing: x')
    const files = { de: join(dir, 'a.yaml'), fr: join(dir, 'absent.yaml') }
    expect(readTextFiles(files).problems.map(({ where }) => where.replace(dir, ''))).toEqual(['/a.yaml:1:1', '/absent.yaml'])
    expect(readTextFiles(files, { skipAbsent: true }).problems).toHaveLength(1)
  })
})

describe('auth.browser.texts', () => {
  const load = (texts: Record<string, string>) => {
    const file = join(dir, 'config.json')
    writeFileSync(file, JSON.stringify({ auth: { browser: { enabled: true, texts } } }))
    return loadConfig({ file, env: {}, needSecrets: false })
  }

  it('a wrong text fails the configuration, with the file and the line', () => {
    const file = join(dir, 'wrong.yaml')
    writeFileSync(file, '# a comment\nlogin.titel: x\n')
    expect(() => load({ de: file })).toThrow(`${file}:2:1: login.titel: there is no such text; did you mean login.title?`)
  })

  it('an absent file is a warning of check: the gateway may run on another machine', () => {
    const { absentFiles } = load({ de: join(dir, 'absent.yaml') })
    expect(absentFiles.map(({ path }) => path)).toEqual(['auth.browser.texts.de'])
  })

  it('a folder cannot be read', () => {
    expect(() => load({ de: dir })).toThrow('cannot be read: EISDIR')
  })
})

describe('portcullis texts', () => {
  it.each([
    ['en', en],
    ['de', de],
  ] as const)('prints %s as a file that can be read again', async (code, texts) => {
    const { texts: read, problems } = readTexts('x', await textsAsYaml(code))
    expect(problems).toEqual([])
    expect(read).toEqual(texts)
  })

  it('prints another language in English, and says so', async () => {
    const yaml = await textsAsYaml('fr')
    expect(yaml).toContain('# fr is not built in: these are the texts of en.\n')
    expect(readTexts('x', yaml).texts).toEqual(en)
  })
})
