/** A proof of work before registration, mailed links and logins after failures. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
import type { Action } from '../../../src/identity/credentials/proof-of-work.ts'
import { from, newAddress } from '../../support/addresses.ts'
import { BROWSER } from '../../support/browser-session.ts'
import { type Answer, call, newUser, type TestUser } from '../../support/client.ts'
import { useGateway, useKeep } from '../../support/fixtures.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { createPageReader } from '../../support/page-reader.ts'
import { until } from '../../support/processes.ts'
import { EASY, solutionFor } from '../../support/proof-of-work.ts'
import { rows } from '../../support/rows.ts'
import { times } from '../../support/times.ts'

const APP = 'https://app.example.com'
const config = {
  server: { trustedProxies: ['127.0.0.1/32'] },
  cors: { origins: [APP] },
  auth: { ...BROWSER.auth, proofOfWork: { ...EASY, loginFailures: 3 } },
}
const gateway = useGateway({ config })
const without = useGateway({ config: { ...config, auth: { ...BROWSER.auth } } })

const PASSWORD = 'plain zebra of fields'
const newPerson = () => {
  const username = `p${randomUUID().slice(0, 20)}`
  return { username, email: `${username}@example.com`, password: PASSWORD }
}
const REQUIRED = { status: 403, code: 'proof_of_work_required' }
const send = (path: string, body: object, address = newAddress()) => call(gateway, `/auth${path}`, { body, headers: from(address) })
const registerWith = (proof_of_work?: string, person = newPerson(), address?: string) =>
  send('/register', { ...person, ...(proof_of_work !== undefined && { proof_of_work }) }, address)
const forgotWith = (email: string, proof_of_work?: string) =>
  send('/password/forgot', { email, ...(proof_of_work !== undefined && { proof_of_work }) })
const logIn = ({ username }: Pick<TestUser, 'username'>, password: string, address: string, proof_of_work?: string) =>
  send('/login', { login: username, password, ...(proof_of_work !== undefined && { proof_of_work }) }, address)
const fail = async (user: TestUser, address: string, n = 3) => {
  for (let i = 0; i < n; i++) expect((await logIn(user, 'not the password', address)).status).toBe(401)
}
const statuses = (answers: Answer[]) => answers.map(({ status }) => status).sort()

/** The computations of password hashes. */
let hashing: MockInstance[] = []
const hashed = () => hashing.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
beforeEach(() => {
  hashing = [vi.spyOn(gateway.app.identity.passwords, 'hash'), vi.spyOn(gateway.app.identity.passwords, 'verify')]
})
afterEach(() => vi.restoreAllMocks())

describe('a challenge', () => {
  it('is of ALTCHA, for one action, and is never stored', async () => {
    const { status, headers, body } = await call(gateway, '/auth/challenge?for=register', { headers: from(newAddress()) })
    expect(status).toBe(200)
    expect(headers.get('cache-control')).toBe('no-store')
    expect(body.parameters).toMatchObject({ algorithm: 'PBKDF2/SHA-256', cost: 1000, data: { for: 'register' } })
    expect(body.signature).toMatch(/^[0-9a-f]{64}$/)
  })

  it('for nothing, or for something else, is refused', async () => {
    for (const query of ['', '?for=', '?for=refresh', '?for=register&for=login', '?for=register&more=1'])
      expect([query, (await call(gateway, `/auth/challenge${query}`)).status]).toEqual([query, 422])
  })

  it('can be read and solved by a page of another origin', async () => {
    const { headers } = await call(gateway, '/auth/challenge?for=login', { headers: { origin: APP } })
    expect(headers.get('access-control-allow-origin')).toBe(APP)
    const refused = await call(gateway, '/auth/register', { body: newPerson(), headers: { origin: APP, ...from(newAddress()) } })
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([403, APP])
  })
})

describe('registration', () => {
  it('without a solution is refused with what to do, before a hash and before a look-up', async () => {
    const taken = await newUser(gateway)
    for (const person of [newPerson(), { ...newPerson(), username: taken.username }]) {
      const { status, body } = await registerWith(undefined, person)
      expect({ status, code: body.code }).toEqual(REQUIRED)
      expect(body.detail).toBe(
        'This needs a proof of work. Get a challenge from GET /auth/challenge?for=register, and send its solution as proof_of_work.',
      )
    }
    expect(hashed()).toBe(1)
  })

  it('with a solution is accepted, once', async () => {
    const solution = await solutionFor(gateway, 'register')
    expect((await registerWith(solution)).status).toBe(201)
    const again = await registerWith(solution)
    expect({ status: again.status, code: again.body.code }).toEqual(REQUIRED)
    expect(hashed()).toBe(1)
  })

  it('with one solution in parallel is accepted once', async () => {
    const solution = await solutionFor(gateway, 'register')
    expect(statuses(await Promise.all(times(8, () => registerWith(solution))))).toEqual([201, ...times(7, () => 403)])
    expect(hashed()).toBe(1)
  })

  it('that is wrong in itself costs no solution', async () => {
    const solution = await solutionFor(gateway, 'register')
    expect((await registerWith(solution, { ...newPerson(), password: 'short' })).status).toBe(422)
    expect((await registerWith(solution)).status).toBe(201)
  })

  it('with rubbish is refused, and computes nothing', async () => {
    for (const rubbish of ['x', '{}', 'e30=', 'A'.repeat(2048), Buffer.from('[]').toString('base64')])
      expect((await registerWith(rubbish)).body.code).toBe('proof_of_work_required')
    expect((await registerWith('A'.repeat(2049))).status).toBe(422)
    expect(hashed()).toBe(0)
  })

  it('does not take a refused request for a registration: the limit of the address is untouched', async () => {
    const address = newAddress()
    for (let i = 0; i < 6; i++) expect((await registerWith(undefined, newPerson(), address)).status).toBe(403)
    expect((await registerWith(await solutionFor(gateway, 'register'), newPerson(), address)).status).toBe(201)
  })
})

describe('a mailed link', () => {
  it('needs a solution of its own', async () => {
    const { email } = await newUser(gateway)
    const before = (await mailsTo(gateway, email)).length
    for (const solution of [undefined, await solutionFor(gateway, 'register')]) {
      const { status, body } = await forgotWith(email, solution)
      expect({ status, code: body.code }).toEqual(REQUIRED)
      expect(body.detail).toContain('GET /auth/challenge?for=forgot')
    }
    const solution = await solutionFor(gateway, 'forgot')
    expect(statuses(await Promise.all(times(6, () => forgotWith(email, solution))))).toEqual([202, ...times(5, () => 403)])
    await until(async () => (await mailsTo(gateway, email)).length > before, 'the mail')
    expect((await mailsTo(gateway, email)).length).toBe(before + 1)
  })
})

describe('a login', () => {
  it('needs a solution only after 3 failures of the address, whatever the account', async () => {
    const [user, other, address] = [await newUser(gateway), await newUser(gateway), newAddress()]
    await fail(user, address)
    const before = hashed()
    for (const who of [user, other]) {
      const { status, body } = await logIn(who, who.password, address)
      expect({ status, code: body.code }).toEqual(REQUIRED)
      expect(body.detail).toContain('GET /auth/challenge?for=login')
    }
    for (const action of ['register', 'forgot', 'email_login'] as Action[])
      expect((await logIn(user, user.password, address, await solutionFor(gateway, action))).status).toBe(403)
    expect(hashed()).toBe(before)
    const solution = await solutionFor(gateway, 'login')
    expect((await logIn(user, user.password, address, solution)).status).toBe(200)
    expect((await logIn(other, other.password, address, solution)).status).toBe(403)
  })

  it('of another address needs none', async () => {
    const [user, address] = [await newUser(gateway), newAddress()]
    await fail(user, address)
    expect((await logIn(user, user.password, address)).status).toBe(403)
    expect((await logIn(user, user.password, newAddress())).status).toBe(200)
  })

  it('that succeeds, or that is refused for its lack of a solution, is no failure', async () => {
    const [user, other, address] = [await newUser(gateway), await newUser(gateway), newAddress()]
    for (let i = 0; i < 4; i++) expect((await logIn(user, user.password, address)).status).toBe(200)
    await fail(other, address, 2)
    expect((await logIn(user, user.password, address)).status).toBe(200)
    await fail(other, address, 1)
    for (let i = 0; i < 4; i++) expect((await logIn(user, user.password, address)).status).toBe(403)
    expect(await metric(gateway, 'portcullis_logins_total', { outcome: 'proof_of_work_required' })).toBeGreaterThan(3)
  })

  it('that fails with a solution stays a failure', async () => {
    const [user, address] = [await newUser(gateway), newAddress()]
    await fail(user, address)
    expect((await logIn(user, 'not the password', address, await solutionFor(gateway, 'login'))).status).toBe(401)
    expect((await logIn(user, user.password, address)).status).toBe(403)
  })

  it('counts parallel attempts, too', async () => {
    const [user, address] = [await newUser(gateway), newAddress()]
    const answers = await Promise.all(times(12, () => logIn(user, 'not the password', address)))
    expect(answers.filter(({ status }) => status === 401).length).toBe(3)
    for (const { status } of answers) expect([401, 403]).toContain(status)
  })

  it('counts a customer of IPv6 by the network', async () => {
    const [user, network] = [await newUser(gateway), `2001:db8:${Math.floor(Math.random() * 0xffff).toString(16)}`]
    await fail(user, `${network}:1::1`)
    expect((await logIn(user, user.password, `${network}:2::9`)).status).toBe(403)
  })
})

describe('an exempt address', () => {
  it('needs none', async () => {
    const user = await newUser(gateway)
    for (let i = 0; i < 5; i++)
      expect((await call(gateway, '/auth/login', { body: { login: user.username, password: 'not the password' } })).status).toBe(401)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).status).toBe(200)
    expect((await call(gateway, '/auth/password/forgot', { body: { email: user.email } })).status).toBe(202)
  })
})

describe('where it is not enabled', () => {
  it('there is no challenge, and a solution is ignored', async () => {
    expect((await call(without, '/auth/challenge?for=register')).status).toBe(404)
    const body = { ...newPerson(), proof_of_work: 'of a page that was opened before' }
    expect((await call(without, '/auth/register', { body, headers: from(newAddress()) })).status).toBe(201)
    const page = await createPageReader(without).get('/register', from(newAddress()))
    expect(page.html).not.toMatch(/challenge|proof_of_work|noscript/)
  })

  it('is by default', () => {
    expect(without.app.platform.config.auth.proofOfWork).toEqual({ enabled: false, cost: 5000, tries: 800, loginFailures: 3 })
  })
})

describe('several gateways', () => {
  const keep = useKeep()
  const more = () => {
    const { databaseUrl, secretKey } = gateway
    return keep(startGateway({ config, databaseUrl, secretKey }))
  }

  it('accept one solution once', async () => {
    const second = await more()
    const solution = await solutionFor(gateway, 'register')
    const body = () => ({ ...newPerson(), proof_of_work: solution })
    const at = (it: Gateway) => call(it, '/auth/register', { body: body(), headers: from(newAddress()) })
    expect((await at(second)).status).toBe(201)
    expect((await at(gateway)).status).toBe(403)
    expect(
      await rows(gateway, "SELECT jti FROM used_tokens WHERE issuer = 'pow' AND expires_at > now() + interval '5 minutes'"),
    ).not.toEqual([])
  })

  it('refuse a solution after 5 minutes, by their clock', async () => {
    const late = await more()
    const solution = await solutionFor(gateway, 'forgot')
    late.clock.advance(301_000)
    const body = { email: 'nobody@example.com', proof_of_work: solution }
    const { status, body: answer } = await call(late, '/auth/password/forgot', { body, headers: from(newAddress()) })
    expect({ status, code: answer.code }).toEqual(REQUIRED)
    expect(late.log().some(({ cause }) => cause === 'the challenge has expired')).toBe(true)
  })
})

describe('pages without JavaScript', () => {
  const strangerOf = (address: string) => {
    const reader = createPageReader(gateway)
    return {
      get: (path: string) => reader.get(path, from(address)),
      post: (path: string, fields: Record<string, string>) => reader.post(path, fields, from(address)),
    }
  }

  it.each([
    ['/register', { username: 'annabel', email: 'annabel@example.com', password: PASSWORD }],
    ['/forgot', { email: 'annabel@example.com' }],
  ])('%s says what to do, and shows the form again with the reason', async (path, fields) => {
    const stranger = strangerOf(newAddress())
    const first = await stranger.get(path)
    expect(first.html).toContain(`data-challenge="/auth/challenge?for=${path.slice(1)}"`)
    expect(/<noscript>([\s\S]*)<\/noscript>/.exec(first.html)![1]).toContain('Turn JavaScript on for this site')
    const refused = await stranger.post(path, fields)
    expect(refused.status).toBe(403)
    expect(refused.html).toContain('Your browser has not done the check that this form needs')
    expect(refused.html).toContain('value="annabel@example.com"')
    expect(refused.html).toContain('<noscript>')
    expect(refused.html).not.toContain(PASSWORD)
  })

  it('the login asks only after failures', async () => {
    const [user, stranger] = [await newUser(gateway), strangerOf(newAddress())]
    const fields = { login: user.username, password: 'not the password' }
    expect((await stranger.get('/login')).html).not.toContain('data-challenge')
    for (let i = 0; i < 2; i++) expect((await stranger.post('/login', fields)).html).not.toContain('data-challenge')
    const third = await stranger.post('/login', fields)
    expect(third.status).toBe(401)
    expect(third.html).toContain('data-challenge="/auth/challenge?for=login"')
    expect(third.html).toContain('wait ten minutes')
    const refused = await stranger.post('/login', { ...fields, password: user.password })
    expect(refused.status).toBe(403)
    const entered = await stranger.post('/login', {
      ...fields,
      password: user.password,
      proof_of_work: await solutionFor(gateway, 'login'),
    })
    expect([entered.status, entered.to]).toEqual([303, '/auth/ui/login?check=1'])
  })

  it('take the modules of the solver from the gateway', async () => {
    const { html } = await strangerOf(newAddress()).get('/register')
    const solver = /data-solver="([^"]+)"/.exec(html)![1]!
    const source = await call(gateway, solver)
    expect([source.status, source.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
    expect(source.headers.get('cache-control')).toContain('immutable')
    const imported = [...source.body.matchAll(/from '(\.[^']+)'/g)].map(
      (found: string[]) => new URL(found[1]!, gateway.url + solver).pathname,
    )
    expect(imported).toHaveLength(2)
    for (const path of imported) expect((await call(gateway, path)).status).toBe(200)
  })
})

it('the metric counts what is issued and what is judged, by action', async () => {
  const count = (outcome: string) => metric(gateway, 'portcullis_proof_of_work_total', { action: 'forgot', outcome })
  const outcomes = ['issued', 'success', 'used', 'missing']
  const before = await Promise.all(outcomes.map(count))
  const solution = await solutionFor(gateway, 'forgot')
  for (const proof of [solution, solution, undefined]) await forgotWith('nobody@example.com', proof)
  expect((await Promise.all(outcomes.map(count))).map((n, i) => n - before[i]!)).toEqual([1, 1, 1, 1])
})

it('the example of the documentation registers', async () => {
  const file = 'clients/proof-of-work/solve.js'
  expect(readFileSync('docs/accounts.md', 'utf8')).toContain(`\`\`\`js\n${readFileSync(file, 'utf8')}\`\`\``)
  const strict = await startGateway({ config: { auth: { proofOfWork: EASY }, limits: { exempt: [] } } })
  const { send: sendSolved } = (await import(new URL(`../../../${file}`, import.meta.url).href)) as {
    send(auth: string, path: string, action: Action, body: object): Promise<Response>
  }
  const answer = await sendSolved(`${strict.url}/auth`, '/register', 'register', newPerson())
  expect(answer.status).toBe(201)
  await strict.close()
})
