/** Bad input: every mistake is reported with what is wrong, where it is, and what would be right. Nothing starts. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { createDataDir } from '../../support/embedded.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-bad-input-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const KEY = randomBytes(32).toString('base64')
const DATABASE = join(dir, 'database')
beforeAll(() => createDataDir(DATABASE))
mkdirSync(join(dir, 'folder'))

const withKey = (key = KEY) => ({ PORTCULLIS_SECRET_KEY: key, PORTCULLIS_DATABASE__DATA_DIR: DATABASE })
const ROUTE = '- { name: a, match: { path: /a }, upstream: ["http://a"], access: public }'
const READABLE_FILE = '  name a YAML file that this user can read: --config FILE; config/portcullis.yaml is an example'
const see = (command: string) => `See: portcullis ${command}--help`

describe('the command line', () => {
  it.each<[what: string, args: string[], lines: string[]]>([
    ['a wrong command', ['sevre'], ['no such command: sevre; did you mean serve?', see('')]],
    ['a wrong action', ['users', 'craete'], ['no such command: users craete; did you mean users create?', see('users ')]],
    ['a wrong flag', ['serve', '--prot', '1'], ['no such option: --prot; did you mean --port?', see('serve ')]],
    ['a flag without its value', ['serve', '--port'], ['--port needs a value, as in --port N', see('serve ')]],
    ['a wrong value', ['serve', '--port', 'http'], ['--port takes a number from 0 to 65535, not http', see('serve ')]],
    ['a wrong choice', ['serve', '--log', 'xml'], ['--log takes json or pretty, not xml', see('serve ')]],
    ['an argument too many', ['demo', 'now'], ['unexpected argument: now; demo takes no argument', see('demo ')]],
    ['an argument too few', ['users', 'grant', 'ann'], ['users grant needs a ROLE', see('users grant ')]],
    ['a file where an option is meant', ['demo', 'a.yaml'], ['unexpected argument: a.yaml; did you mean --config a.yaml?', see('demo ')]],
    [
      'a setting without a value',
      ['check', '--set', 'server.port'],
      ['--set server.port: has no value', '  write it as --set section.key=value'],
    ],
    [
      'a setting that does not exist',
      ['check', '--set', 'server.prot=1'],
      ['--set server.prot: no such setting', '  did you mean server.port?'],
    ],
    [
      'a file that is not there',
      ['check', '/nowhere.yaml'],
      ['/nowhere.yaml: cannot be read: ENOENT: no such file or directory', READABLE_FILE],
    ],
    [
      'a folder',
      ['serve', join(dir, 'folder')],
      [`${join(dir, 'folder')}: cannot be read: EISDIR: illegal operation on a directory`, READABLE_FILE],
    ],
  ])('%s', async (_, args, lines) => {
    expect(lines).toHaveLength(2)
    expect(await runCli(args, withKey())).toEqual({ code: 2, stdout: '', stderr: `${lines.join('\n')}\n` })
  })
})

describe('the configuration', () => {
  it.each<[what: string, yaml: string, problems: [what: string, hint: string][]]>([
    ['a wrong key', 'server: { prot: 1 }', [['1:11: server.prot: unknown key', 'did you mean port?']]],
    ['a key without its section', 'port: 1', [['1:1: port: unknown key', 'it belongs to a section: server.port or admin.port']]],
    [
      'a section that is not indented',
      'server:\nport: 1',
      [
        ['1:1: server: is empty', 'write its value behind the colon, or indented below it'],
        ['2:1: port: unknown key', 'it belongs to a section: server.port or admin.port'],
      ],
    ],
    [
      'a line that is indented too far',
      'server:\n  port: 1\n   host: x',
      [
        [
          '2:9: Nested mappings are not allowed in compact mappings',
          'the next line may be indented too far: keys of one mapping start in the same column',
        ],
        ['2:9: Implicit keys need to be on a single line', 'a colon may be missing, or the next line may be indented too far'],
      ],
    ],
    [
      'a line of a list that is not indented',
      'routes:\n- name: a\n upstream: []',
      [['3:1: Sequence item without - indicator', 'a colon, dash, quote or bracket may be missing, or the indentation may be wrong']],
    ],
    ['a tab', 'server:\n\tport: 1', [['2:1: Tabs are not allowed as indentation', 'use two spaces for each level']]],
    ['a list', '- a', [['1:1: is not a mapping', 'write sections such as server: and routes: at the top']]],
    [
      'a glob in a path',
      `routes:\n  ${ROUTE.replace('/a', '/a/*')}`,
      [['2:25: routes[0].match.path: is a prefix, not a pattern such as "/a/*"', 'write /a, which also matches the paths below it']],
    ],
    [
      'a parameter in a path',
      `routes:\n  ${ROUTE.replace('/a', '"/a/{id}"')}`,
      [['2:25: routes[0].match.path: is a prefix, not a pattern such as "/a/{id}"', 'write /a, which also matches the paths below it']],
    ],
    [
      'a route without access',
      `routes:\n  ${ROUTE.replace(', access: public', '')}`,
      [['2:5: routes[0]: access is missing', 'write public, authenticated, or { roles: […] } / { scopes: […] }']],
    ],
  ])('%s', async (_, yaml, problems) => {
    const file = join(dir, 'bad.yaml')
    writeFileSync(file, `${yaml}\n`)
    const expected = { code: 2, stdout: '', stderr: problems.map(([what, hint]) => `${file}:${what}\n  ${hint}\n`).join('') }
    expect(await runCli(['check', file])).toEqual(expected)
    expect(await runCli(['serve', file], withKey())).toEqual(expected)
  })

  it.each<[what: string, yaml: string, problem: string, hint: string]>([
    [
      'an empty file',
      '',
      '1:1: routes: is empty: the gateway serves only accounts',
      'add a route: { name: api, match: { path: /api }, upstream: [http://localhost:3000], access: authenticated }',
    ],
    [
      'an unknown role',
      `routes:\n  ${ROUTE.replace('public', '{ roles: [admn] }')}`,
      '2:61: routes[0].access: role admn is not in auth.roles',
      'did you mean admin?',
    ],
  ])('%s is a warning, and a problem under --strict', async (_, yaml, problem, hint) => {
    const lines = `${problem}\n  ${hint}`
    const file = join(dir, 'doubtful.yaml')
    writeFileSync(file, yaml)
    expect(await runCli(['check', file])).toEqual({
      code: 0,
      stdout: 'the configuration is valid\n',
      stderr: `warning: ${file}:${lines}\n`,
    })
    expect(await runCli(['check', '--strict', file])).toEqual({ code: 2, stdout: '', stderr: `${file}:${lines}\n` })
  })
})

it('no file at all is a warning that names the folder, and a problem under --strict', async () => {
  const lines = `no --config, and no portcullis.yaml in ${process.cwd()}: there are no routes\n  name the configuration: --config FILE; config/portcullis.yaml is an example\n`
  expect(await runCli(['check'])).toEqual({ code: 0, stdout: 'the configuration is valid\n', stderr: `warning: ${lines}` })
  expect(await runCli(['check', '--strict'])).toEqual({ code: 2, stdout: '', stderr: lines })
  expect((await runCli(['routes'])).stderr).toBe(`warning: ${lines}`)
})

it('a key of a certificate that is not there is a warning, also under --strict', async () => {
  const file = join(dir, 'tls.yaml')
  writeFileSync(file, `server: { tls: { cert: /nowhere/a.crt, key: ${file} } }\nroutes:\n  ${ROUTE}\n`)
  expect(await runCli(['check', '--strict', file])).toEqual({
    code: 0,
    stdout: 'the configuration is valid\n',
    stderr: `warning: ${file}:1:18: server.tls.cert: there is no /nowhere/a.crt on this machine\n  the gateway does not start without it\n`,
  })
})

it('a start refuses what is no file of a certificate, and does not repeat it', async () => {
  const file = join(dir, 'pem.yaml')
  writeFileSync(file, `server: { tls: { cert: /nowhere/a.crt, key: "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBg" } }\n`)
  expect(await runCli(['serve', file], withKey())).toEqual({
    code: 2,
    stdout: '',
    stderr: [
      `${file}:1:18: server.tls.cert: there is no /nowhere/a.crt on this machine\n  the gateway does not start without it\n`,
      `${file}:1:40: server.tls.key: there is no such file on this machine\n  the gateway does not start without it\n`,
    ].join(''),
  })
})

const RANDOM_KEY = 'give 32 random bytes in base64, for example from: openssl rand -base64 32'

describe('the rest', () => {
  it('no secret key, and one of the wrong form', async () => {
    expect(await runCli(['serve'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `PORTCULLIS_SECRET_KEY: is required\n  ${RANDOM_KEY}\n`,
    })
    expect(await runCli(['serve'], withKey('abc'))).toEqual({
      code: 2,
      stdout: '',
      stderr: `PORTCULLIS_SECRET_KEY: must be 32 bytes in base64 (it holds 2)\n  ${RANDOM_KEY}\n`,
    })
  })

  it('another secret key than that of the database', async () => {
    expect((await runCli(['keys', 'list'], withKey())).code).toBe(0)
    const { code, stdout, stderr } = await runCli(['keys', 'list'], withKey(randomBytes(32).toString('base64')))
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(
      '\nPORTCULLIS_SECRET_KEY: is not the key that this database was set up with\n  set that key, or give it as PORTCULLIS_SECRET_KEY_PREVIOUS to replace it\n',
    )
  })

  it('a role that does not exist', async () => {
    const { code, stdout, stderr } = await runCli(
      ['users', 'create', '--username', 'ann', '--email', 'ann@example.com', '--role', 'admn'],
      withKey(),
    )
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^database: embedded in .*\nrole: must be one of these: admin, user\nSee: portcullis users create --help\n$/)
  })

  it('a port in use, exit 1', async () => {
    const owner = net.createServer().listen(0, '127.0.0.1')
    await once(owner, 'listening')
    const { port } = owner.address() as AddressInfo
    const set = ['server.host=127.0.0.1', `admin.port=${port}`, 'server.port=0'].flatMap((s) => ['--set', s])
    try {
      const { code, stderr } = await runCli(['serve', ...set], { ...withKey(), PORTCULLIS_LOG__LEVEL: 'silent' })
      expect([code, stderr]).toEqual([
        1,
        `admin.port ${port} is in use\n  set admin.port, for example with --set admin.port=N, to another\n`,
      ])
    } finally {
      owner.close()
    }
  })
})
