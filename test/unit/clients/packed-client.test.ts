import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type PackedClient, packClient } from '../../support/packed-client.ts'

const MAX_BYTES = 4000

let client: PackedClient
beforeAll(() => {
  client = packClient()
})
afterAll(() => client.close())

it('the tarball holds one module, its types and its description', () => {
  expect(client.packed).toEqual(['README.md', 'package.json', 'src/portcullis-client.d.ts', 'src/portcullis-client.js'])
})

it('it depends on nothing', () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(readFileSync('clients/javascript/package.json', 'utf8'))
  expect([dependencies, peerDependencies, optionalDependencies]).toEqual([undefined, undefined, undefined])
  expect(readFileSync(client.file, 'utf8')).not.toMatch(/^import\b|\bimport\(/m)
})

it(`it has at most ${MAX_BYTES} bytes over the wire`, () => {
  expect(gzipSync(readFileSync(client.file), { level: 9 }).length).toBeLessThanOrEqual(MAX_BYTES)
})

it('its types accept what the documentation shows, and refuse what does not exist', () => {
  const source = (lines: string) => `import { createClient, PortcullisError, type User } from 'portcullis-client'
const client = createClient({ baseUrl: 'https://api.example.com', mode: 'token' })
${lines}
`
  const right = source(`const answer = await client.login({ login: 'ann', password: 'x' })
const user: User = 'mfa_required' in answer ? (await client.loginMfa({ mfa_token: answer.mfa_token, code: '123456' })).user : answer.user
const socket: WebSocket = await client.webSocket('/chat')
client.addEventListener('loggedout', () => socket.close())
const roles: string[] = user.roles
const status: number = (await client.fetch('/orders', { method: 'POST', body: JSON.stringify(roles) })).status
export const code = (error: unknown) => (error instanceof PortcullisError ? [error.code, error.status + status, ...error.errors] : [])`)
  writeFileSync(join(client.folder, 'right.ts'), right)
  writeFileSync(join(client.folder, 'wrong.ts'), source("await client.signIn()\nclient.addEventListener('loggedoff', () => {})"))
  const compile = (file: string) => {
    const options = '--noEmit --strict --module nodenext --target es2023 --lib es2023,dom --skipLibCheck false --types'.split(' ')
    try {
      execFileSync(resolve('node_modules/.bin/tsc'), [...options, '', file], { cwd: client.folder, encoding: 'utf8', stdio: 'pipe' })
      return ''
    } catch (error) {
      return (error as { stdout: string }).stdout
    }
  }
  expect(compile('right.ts')).toBe('')
  const refused = compile('wrong.ts')
  expect(refused).toContain("Property 'signIn' does not exist")
  expect(refused).toContain('"loggedoff"')
})
