/** How commands are called: help, wrong usage, and what holds for every command, present and future. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterAll, describe, expect, it } from 'vitest'
import { collect, pathOf } from '../../../src/commands/usage.ts'
import { commandTree, runCli } from '../../support/cli.ts'
import { assertExample } from '../../support/command-example.ts'

const READABLE_FILE = 'name a YAML file that this user can read: --config FILE; config/portcullis.yaml is an example'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-command-line-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const valid = join(dir, 'valid.yaml')
const ROUTE = 'routes: [{ name: a, match: { path: /a }, upstream: ["http://a"], access: public }]'
writeFileSync(valid, `log: { level: debug }\n${ROUTE}\n`)
const broken = join(dir, 'broken.yaml')
writeFileSync(broken, `log: { level: loud }\n${ROUTE}\n`)

const program = commandTree()
const withAll = (command: Command): Command[] => [command, ...command.commands.flatMap(withAll)]
const named = (commands: Command[]) => commands.map((command) => [pathOf(command), command] as const)
const all = withAll(program)
const leaves = all.filter((c) => !c.commands.length)
const wordsOf = (command: Command) => pathOf(command).split(' ').slice(1)
const misuse = (text: string, see: string) => ({ code: 2, stdout: '', stderr: `${text}\nSee: ${see} --help\n` })

it('has the commands that docs/administration.md names', () => {
  const names = program.commands.map((c) => c.name()).filter((name) => name !== 'help')
  expect(readFileSync('docs/administration.md', 'utf8')).toContain(`portcullis ${names.join(' | ')} `)
  expect(leaves.length).toBeGreaterThan(30)
})

describe.each(named(all))('%s', (path, command) => {
  const words = wordsOf(command)

  it('--help prints usage and examples to standard output, exit 0', async () => {
    const { code, stdout, stderr } = await runCli([...words, '--help'])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(new RegExp(`^Usage: ${path}\\b`))
    expect(stdout).toMatch(new RegExp(`\\nExamples:\\n(  .*\\n)*  (\\S+=\\S+.* )?${path}\\b`))
    expect(await runCli([...words, '-h'])).toEqual({ code, stdout, stderr })
    expect(await runCli(['--help', ...words])).toEqual({ code, stdout, stderr })
    expect(await runCli([...words, '--no-such-option', '--help'])).toEqual({ code, stdout, stderr })
    if (command !== program) expect(await runCli(['help', ...words])).toEqual({ code, stdout, stderr })
  })

  it('every example is a valid command line', async () => {
    const { stdout } = await runCli([...words, '--help'])
    const examples = /\nExamples:\n((?: {2}.*\n)+)/.exec(stdout)![1]!.trimEnd().split('\n')
    for (const example of examples) assertExample(program, example)
  })

  it('refuses an unknown option, exit 2', async () => {
    expect(await runCli([...words, '--no-such-option'])).toEqual(misuse('no such option: --no-such-option', path))
    expect(await runCli([...words, '--no-such-option=1'])).toEqual(misuse('no such option: --no-such-option', path))
  })
})

describe.each(named(all.filter((c) => c.commands.length)))('%s, a group', (path, group) => {
  it('refuses an unknown command, and suggests the nearest one', async () => {
    const words = wordsOf(group)
    const { code, stdout, stderr } = await runCli([...words, 'xyzzyxyzzy'])
    expect([code, stdout, stderr.split('\n')[1]]).toEqual([2, '', `See: ${path} --help`])
    expect(stderr).toContain(`no such command: ${[...words, 'xyzzyxyzzy'].join(' ')}`)
    const help = (await runCli([...words, '--help'])).stdout
    for (const name of group.commands.map((c) => c.name())) {
      // a command for other commands is not suggested to people
      if (!help.includes([...words, name].join(' '))) continue
      expect(await runCli([...words, `${name}x`])).toEqual(
        misuse(`no such command: ${[...words, `${name}x`].join(' ')}; did you mean ${[...words, name].join(' ')}?`, path),
      )
    }
  })

  it('names no command that its help hides', async () => {
    const words = wordsOf(group)
    if (words.length === 0) return
    const help = (await runCli([...words, '--help'])).stdout
    const { stderr } = await runCli(words)
    for (const name of group.commands.map((c) => c.name()))
      expect(new RegExp(`\\b${name}\\b`).test(stderr.split('\n')[0]!), name).toBe(help.includes([...words, name].join(' ')))
  })

  it('refuses to be called without a command', async () => {
    const { code, stdout, stderr } = await runCli(wordsOf(group))
    expect([code, stdout, stderr.split('\n')[1]]).toEqual([2, '', `See: ${path} --help`])
  })
})

describe.each(named(leaves.filter((c) => c.name() !== 'help')))('%s', (path, command) => {
  const words = wordsOf(command)
  const short = words.join(' ')
  const args = command.registeredArguments.map((a) => a.name())

  if (!command.registeredArguments.some((a) => a.variadic))
    it('refuses one argument too many, exit 2', async () => {
      const takes = args.length ? `only ${args.join(' and ')}` : 'no argument'
      expect(await runCli([...words, ...args, 'extra'])).toEqual(misuse(`unexpected argument: extra; ${short} takes ${takes}`, path))
      expect(await runCli([...words, ...args, '--', '--extra'])).toEqual(
        misuse(`unexpected argument: --extra; ${short} takes ${takes}`, path),
      )
    })

  const required = command.registeredArguments.filter((a) => a.required).map((a) => a.name())
  if (required.length)
    it('refuses a missing or empty argument, exit 2', async () => {
      for (const [at, name] of required.entries()) {
        expect(await runCli([...words, ...required.slice(0, at)])).toEqual(misuse(`${short} needs a ${name}`, path))
        const empty = required.map((other) => (other === name ? '' : other))
        expect(await runCli([...words, ...empty])).toEqual(misuse(`${short} needs a ${name}`, path))
      }
    })

  it.each(
    command.options.filter((o) => o.required).map((o) => [o.long!, o] as const),
  )('refuses %s without a value, with an empty value and given twice, exit 2', async (long, option) => {
    const missing = misuse(`${long} needs a value, as in ${long} ${/<(.*)>/.exec(option.flags)![1]}`, path)
    expect(await runCli([...words, ...args, long])).toEqual(missing)
    const other = command.options.find((o) => o !== option)!.long!
    expect(await runCli([...words, long, other, valid])).toEqual(missing)
    expect(await runCli([...words, ...args, `${long}=`])).toEqual(missing)
    expect(await runCli([...words, ...args, long, ''])).toEqual(missing)
    if (option.parseArg === collect) return
    expect(await runCli([...words, ...args, `${long}=1`, long, '2'])).toEqual(misuse(`${long} is given twice: give it once`, path))
  })

  it('refuses the options of other commands, exit 2', async () => {
    const own = command.options.map((o) => o.long)
    const foreign = leaves.flatMap((c) => c.options).filter((o) => !own.includes(o.long))
    expect(foreign.length).toBeGreaterThan(5)
    for (const { long, required: hasValue } of foreign) {
      const { code, stdout, stderr } = await runCli([...words, ...args, ...(hasValue ? [long!, 'x'] : [long!])])
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toMatch(new RegExp(`^no such option: ${long}(; did you mean .*\\?)?\\nSee: ${path} --help\\n$`))
    }
  })
})

describe('wrong usage', () => {
  it.each<[what: string, args: string[], text: string, see: string]>([
    ['nothing', [], 'a command is missing, for example: portcullis serve --config FILE', 'portcullis'],
    ['only a dash dash', ['--'], 'a command is missing, for example: portcullis serve --config FILE', 'portcullis'],
    ['a misspelt command', ['sevre'], 'no such command: sevre; did you mean serve?', 'portcullis'],
    ['a misspelt command with --help', ['sevre', '--help'], 'no such command: sevre; did you mean serve?', 'portcullis'],
    ['a misspelt command to help', ['help', 'sevre'], 'no such command: sevre; did you mean serve?', 'portcullis'],
    ['too much for help', ['help', 'serve', 'it'], 'no such command: serve it', 'portcullis serve'],
    ['a command that every object has', ['toString'], 'no such command: toString', 'portcullis'],
    ['a misspelt action', ['users', 'creat'], 'no such command: users creat; did you mean users create?', 'portcullis users'],
    [
      'an unknown action',
      ['migrate', 'sideways'],
      'no such command: migrate sideways; migrate takes up, down or status',
      'portcullis migrate',
    ],
    ['no action', ['keys'], 'keys takes list, rotate or revoke', 'portcullis keys'],
    ['a misspelt option', ['serve', '--prot', '1'], 'no such option: --prot; did you mean --port?', 'portcullis serve'],
    ['a misspelt option with its value', ['check', '--confg=x'], 'no such option: --confg; did you mean --config?', 'portcullis check'],
    ['a misspelt option before the command', ['--confg', 'x', 'check'], 'no such option: --confg; did you mean --config?', 'portcullis'],
    ['an unknown letter', ['check', '-x'], 'no such option: -x', 'portcullis check'],
    ['an option of another command', ['serve', '--search', 'x'], 'no such option: --search', 'portcullis serve'],
    [
      'a file for a command without FILE',
      ['demo', valid],
      `unexpected argument: ${valid}; did you mean --config ${valid}?`,
      'portcullis demo',
    ],
    ['two files', ['check', 'a.yaml', 'b.yaml'], 'unexpected argument: b.yaml; check takes only FILE', 'portcullis check'],
    ['a port that is no number', ['serve', '--port', 'http'], '--port takes a number from 0 to 65535, not http', 'portcullis serve'],
    ['a port that is too high', ['check', '--port=65536'], '--port takes a number from 0 to 65535, not 65536', 'portcullis check'],
    [
      'a limit that is no number',
      ['users', 'list', '--limit', 'all'],
      '--limit takes a number from 1 to 999999999, not all',
      'portcullis users list',
    ],
    ['a limit of nothing', ['users', 'list', '--limit=0'], '--limit takes a number from 1 to 999999999, not 0', 'portcullis users list'],
    [
      'a negative limit',
      ['users', 'list', '--limit', '-5'],
      '--limit needs a value, as in --limit N; a value that starts with a dash is written --limit=-5',
      'portcullis users list',
    ],
    ['both forms of check', ['check', '--print', '--json'], 'option --print cannot be used with option --json', 'portcullis check'],
    ['an account without an address', ['users', 'create', '--username', 'ann'], 'users create needs --email', 'portcullis users create'],
    [
      'an export of an unknown system',
      ['users', 'import', '-', '--from', 'ldap'],
      '--from takes one of these: keycloak, supabase, auth0, firebase, django',
      'portcullis users import',
    ],
    [
      'metadata that is no object',
      ['users', 'metadata', 'ann', '--merge', '{"public":"gold"}'],
      '--merge takes a JSON object with the members public and admin, each an object or null',
      'portcullis users metadata',
    ],
    ['a client without a name', ['clients', 'create'], 'clients create needs --name', 'portcullis clients create'],
    [
      'keys that are not there',
      ['clients', 'create', '--name', 'x', '--jwks', '/nowhere.json'],
      '--jwks /nowhere.json: cannot be read: ENOENT: no such file or directory',
      'portcullis clients create',
    ],
    [
      'users that are not there',
      ['users', 'import', '/nowhere.ndjson'],
      '/nowhere.ndjson: cannot be read: ENOENT: no such file or directory',
      'portcullis users import',
    ],
    [
      'a head that is no head',
      ['audit', 'verify', '--head', 'abc'],
      '--head is <number>:<hash>, as in a log line audit_sealed',
      'portcullis audit verify',
    ],
    [
      'a time that is no time',
      ['audit', 'export', '--since', 'yesterday'],
      '--since is a date or an instant: 2026-11-01, 2026-11-01T12:00:00Z',
      'portcullis audit export',
    ],
  ])('%s: exit 2, what is wrong, and where to look', async (_, args, text, see) => {
    expect(await runCli(args)).toEqual(misuse(text, see))
  })

  it.each(['serve', 'check', 'routes'])('%s takes the configuration once: as FILE or as --config', async (name) => {
    expect(await runCli([name, valid, '--config', valid])).toEqual(
      misuse(`the configuration is given twice, as ${valid} and as --config ${valid}: give only one of them`, `portcullis ${name}`),
    )
  })
})

describe('the configuration', () => {
  const reading = leaves.filter((c) => c.options.some((o) => o.long === '--config'))
  it.each(
    named(reading.filter((c) => c.name() !== 'import' && c.name() !== 'create')),
  )('%s names a --config that is not there, exit 2', async (_, command) => {
    const args = command.registeredArguments.filter((a) => a.required).map((a) => a.name())
    expect(await runCli([...wordsOf(command), ...args, '--config', '/nowhere.yaml'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `/nowhere.yaml: cannot be read: ENOENT: no such file or directory\n  ${READABLE_FILE}\n`,
    })
  })

  it.each(['serve', 'check', 'routes'])('%s names a FILE that is not there, exit 2', async (name) => {
    const { code, stderr } = await runCli([name, '/nowhere.yaml'])
    expect([code, stderr]).toEqual([2, `/nowhere.yaml: cannot be read: ENOENT: no such file or directory\n  ${READABLE_FILE}\n`])
  })

  it.each(['serve', 'check', 'routes'])('%s reads the FILE', async (name) => {
    const { code, stdout, stderr } = await runCli([name, broken])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(`${broken}:1:8: log.level: must be`)
  })

  const right = { code: 0, stdout: 'the configuration is valid\n', stderr: '' }
  it.each([
    ['--config', ['check', '--config', valid]],
    ['--config=', ['check', `--config=${valid}`]],
    ['-c', ['check', '-c', valid]],
    ['-c without a space', ['check', `-c${valid}`]],
    ['FILE', ['check', valid]],
    ['FILE after --', ['check', '--', valid]],
    ['options after FILE', ['check', valid, '--port', '1', '--set', 'log.level=info']],
    ['options before FILE', ['check', '--set=log.level=info', '--port=1', valid]],
    ['--config before the command', ['--config', valid, 'check']],
    ['several --set', ['check', broken, '--set', 'log.level=info', '--set', 'server.workers=1', '--set=server.port=1']],
  ])('%s', async (_, args) => {
    expect(await runCli(args)).toEqual(right)
  })

  it('the last --set of a setting counts, and a dash may start a value that is written with =', async () => {
    expect(await runCli(['check', valid, '--set', 'log.level=loud', '--set', 'log.level=info'])).toEqual(right)
    expect((await runCli(['check', '--config=-nowhere.yaml'])).stderr).toMatch(/^-nowhere\.yaml: cannot be read/)
  })
})

it.each([['-v'], ['--version'], ['--version', 'serve']])('%s %s prints the version', async (...args) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(await runCli(args.filter(Boolean))).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
})
