/** README and docs: links lead somewhere, commands and configurations are accepted, README is short. */
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { afterAll, describe, expect, it } from 'vitest'
import { loadConfig } from '../../../src/app/load-config.ts'
import { pathOf } from '../../../src/commands/usage.ts'
import { commandTree } from '../../support/cli.ts'
import { assertExample } from '../../support/command-example.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const README_MAX_BYTES = 8192
const IMAGE_MAX_BYTES = 60_000

const pages = globSync(['*.md', 'docs/**/*.md', 'load/**/*.md', 'test/*.md'], { cwd: ROOT })
  .filter((path) => !path.includes('node_modules') && !path.includes('results/'))
  .map((path) => path.replaceAll('\\', '/'))
  .sort()
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8')

interface Fence {
  language: string
  text: string
}

/** The fenced blocks of a page, also those that are indented in a list. */
const fencesOf = (markdown: string): Fence[] =>
  [...markdown.matchAll(/^( *)```(\w*)\n(.*?)^\1```$/gms)].map(([, indent, language, text]) => ({
    language: language!,
    text: text!.replace(new RegExp(`^${indent}`, 'gm'), ''),
  }))
const withoutFences = (markdown: string) => markdown.replace(/^( *)```.*?^\1```$/gms, '')

/** The anchors that GitHub gives the headings of a page. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, title] of withoutFences(markdown).matchAll(/^#{1,6} (.+)$/gm)) {
    const anchor = title!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-')
    let unique = anchor
    for (let n = 1; anchors.has(unique); n++) unique = `${anchor}-${n}`
    anchors.add(unique)
  }
  return anchors
}

/** What is wrong with a link of a page, or null. Links to other hosts are not followed. */
function faultOf(page: string, link: string): string | null {
  if (/^[a-z]+:/.test(link)) return null
  const [path, anchor] = link.split('#') as [string, string | undefined]
  const target = path === '' ? page : posix.normalize(posix.join(dirname(page), path))
  if (target.startsWith('..')) return `${link} leaves the repository`
  if (!existsSync(join(ROOT, target))) return `${link}: there is no ${target}`
  if (anchor === undefined) return null
  if (!target.endsWith('.md') || statSync(join(ROOT, target)).isDirectory()) return `${link}: only Markdown has anchors`
  return anchorsOf(textOf(target)).has(anchor) ? null : `${link}: ${target} has no heading #${anchor}`
}

const linksOf = (markdown: string): string[] =>
  [...withoutFences(markdown).matchAll(/\]\(([^)\s]+)\)/g), ...markdown.matchAll(/^\[[^\]]+\]: (\S+)$/gm)].map((m) => m[1]!)

/** Lines of shell blocks and spans of code that call the program. A placeholder such as `portcullis …` is left out. */
function commandLinesOf(markdown: string): string[] {
  const blocks = fencesOf(markdown).filter(({ language }) => ['sh', 'bash', 'console'].includes(language))
  const lines = blocks.flatMap(({ text }) => text.split('\n')).map((line) => line.replace(/^\$ /, '').trim())
  const spans = [...withoutFences(markdown).matchAll(/`([^`\n]+)`/g)].map((m) => m[1]!)
  return [...lines, ...spans].filter((line) => /^(?:[A-Z_]+=\S+ )*portcullis [a-z-]/.test(line) && !/portcullis \w+ \|/.test(line))
}

const allCommands = (command: Command): Command[] => [command, ...command.commands.flatMap(allCommands)]

it('reads the pages', () => {
  expect(pages).toEqual(expect.arrayContaining(['README.md', 'SECURITY.md', 'docs/README.md', 'docs/routing.md', 'load/README.md']))
})

it(`README has at most ${README_MAX_BYTES} bytes`, () => {
  expect(Buffer.byteLength(textOf('README.md'))).toBeLessThanOrEqual(README_MAX_BYTES)
})

it('every page of docs is in its index, every decision in its own', () => {
  for (const folder of ['docs', 'docs/decisions']) {
    const linked = linksOf(textOf(`${folder}/README.md`)).map((link) => link.split('#')[0])
    const own = pages.filter((page) => dirname(page) === folder && !page.endsWith('/README.md')).map((page) => posix.basename(page))
    expect(own.filter((name) => !linked.includes(name))).toEqual([])
    expect(own.length).toBeGreaterThan(5)
  }
})

describe('the checks find what is wrong', () => {
  it.each([
    ['docs/README.md', 'no-such-page.md', 'there is no docs/no-such-page.md'],
    ['docs/README.md', 'routing.md#no-such-heading', 'has no heading #no-such-heading'],
    ['docs/README.md', '#nowhere', 'has no heading #nowhere'],
    ['README.md', '../elsewhere.md', 'leaves the repository'],
    ['README.md', 'package.json#scripts', 'only Markdown has anchors'],
  ])('%s: %s', (page, link, fault) => {
    expect(faultOf(page, link)).toContain(fault)
  })

  it('a repeated heading and one with code have their own anchors', () => {
    expect([...anchorsOf('# A `b` (c)\n## Twice\n```sh\n# not a heading\n```\n## Twice\n')]).toEqual(['a-b-c', 'twice', 'twice-1'])
  })

  it.each(['portcullis sevre', 'portcullis serve --prot 1', 'portcullis users grant ann', 'portcullis keys list extra'])('%s', (line) => {
    expect(() => assertExample(program, line)).toThrow()
  })
})

const program = commandTree()
/** A command that is only named, such as `portcullis clients`, is no command line. */
const commandNames = new Set(allCommands(program).map(pathOf))
const dir = mkdtempSync(join(tmpdir(), 'portcullis-docs-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe.each(pages)('%s', (page) => {
  const markdown = textOf(page)

  it('its links and anchors exist', () => {
    expect(linksOf(markdown).flatMap((link) => faultOf(page, link) ?? [])).toEqual([])
  })

  it('its npm scripts exist', () => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> }
    const named = [...markdown.matchAll(/\bnpm run ([a-z][\w:-]*)/g)].map((m) => m[1]!.replace(/:$/, ''))
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([])
  })

  it('the program accepts its command lines', () => {
    for (const line of commandLinesOf(markdown)) if (!commandNames.has(line)) assertExample(program, line)
  })

  it('its configurations are valid', () => {
    for (const { text } of fencesOf(markdown).filter(({ language, text }) => language === 'yaml' && /^routes:/m.test(text))) {
      const file = join(dir, 'portcullis.yaml')
      writeFileSync(file, text)
      const { config } = loadConfig({ file, env: {}, needSecrets: false })
      expect(config.routes.length).toBeGreaterThan(0)
    }
  })

  it('its images are small', () => {
    for (const link of linksOf(markdown).filter((path) => path.endsWith('.png')))
      expect(statSync(join(ROOT, dirname(page), link)).size, link).toBeLessThanOrEqual(IMAGE_MAX_BYTES)
  })

  it('its pictures have content', () => {
    for (const { text } of fencesOf(markdown).filter(({ language }) => language === 'mermaid'))
      expect(text).toMatch(/^(?:flowchart|sequenceDiagram|stateDiagram-v2)\b.*\n\s*\S/)
  })
})

it('the checks have something to check', () => {
  const all = pages.map(textOf)
  expect(all.flatMap(linksOf).length).toBeGreaterThan(100)
  expect(all.flatMap(commandLinesOf).length).toBeGreaterThan(30)
  const fences = all.flatMap(fencesOf)
  expect(fences.filter(({ language, text }) => language === 'yaml' && /^routes:/m.test(text)).length).toBeGreaterThan(4)
  expect(fences.filter(({ language }) => language === 'mermaid').length).toBeGreaterThan(3)
})
