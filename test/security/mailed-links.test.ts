/** A link that is mailed opens an account: where it leads, who may read it, and what opens it. */
import { createHash } from 'node:crypto'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { call, newUser, raw, statusOf } from '../support/client.ts'
import { useGateway } from '../support/fixtures.ts'
import { startGateway } from '../support/gateway.ts'
import { mailsTo, tokenOf } from '../support/mails.ts'
import { dump } from '../support/rows.ts'

const gateway = useGateway(() => ({
  config: {
    server: { publicUrl: 'https://api.example.com', trustedProxies: ['127.0.0.1/32'] },
    auth: { prefix: '/api/v1/auth' },
    log: { level: 'trace', skip: [] },
  },
}))

const linkTo = async (address: string) => (await mailsTo(gateway, address)).at(-1)!

describe('the link', () => {
  it.each([
    ['Host', { Host: 'evil.example' }],
    ['Host with a port', { Host: 'evil.example:443' }],
    ['X-Forwarded-Host, of a trusted proxy', { Host: 'api.example.com', 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'http' }],
    ['Forwarded', { Host: 'api.example.com', Forwarded: 'host=evil.example;proto=http' }],
    ['X-Original-Host', { Host: 'api.example.com', 'X-Original-Host': 'evil.example', 'X-Host': 'evil.example' }],
    ['Origin and Referer', { Host: 'api.example.com', Origin: 'https://evil.example', Referer: 'https://evil.example/' }],
  ])('leads to publicUrl, whatever %s says', async (_, headers: Record<string, string>) => {
    const username = `host${Object.values(headers).join('').length}x${Object.keys(headers).length}`
    const body = JSON.stringify({ username, email: `${username}@example.com`, password: 'plain zebra and so on' })
    const fields = Object.entries({
      ...headers,
      'Content-Type': 'application/json',
      'Content-Length': String(body.length),
      Connection: 'close',
    })
    const answer = await raw(
      gateway.port,
      `POST /api/v1/auth/register HTTP/1.1\r\n${fields.map(([n, v]) => `${n}: ${v}`).join('\r\n')}\r\n\r\n${body}`,
    )
    expect(statusOf(answer)).toBe(201)
    const mail = await linkTo(`${username}@example.com`)
    expect(mail.data.url).toMatch(/^https:\/\/api\.example\.com\/api\/v1\/auth\/email\/verify#token=[\w-]{43}$/)
    expect(JSON.stringify(mail)).not.toContain('evil')
  })

  it('is nowhere but in its mail: neither in the database nor in the log', async () => {
    const person = { username: 'secretive', email: 'secretive@example.com', password: 'plain zebra and so on' }
    await call(gateway, '/api/v1/auth/register', { body: person })
    const token = tokenOf(await linkTo(person.email))
    await call(gateway, `/api/v1/auth/email/verify?token=${token}`)
    const places = [await dump(gateway), JSON.stringify(gateway.log())]
    for (const place of places)
      for (const spelling of [token, Buffer.from(token, 'base64url').toString('hex')]) expect(place).not.toContain(spelling)
    // what the database has of it is a hash
    expect(places[0]).toContain(createHash('sha256').update(token).digest('hex'))
    expect((await call(gateway, '/api/v1/auth/email/verify', { body: { token, password: person.password } })).status).toBe(200)
  })

  it('proves nothing by being looked at: only a POST of its token does', async () => {
    const person = { username: 'scanned', email: 'scanned@example.com', password: 'plain zebra and so on' }
    const { body } = await call(gateway, '/api/v1/auth/register', { body: person })
    const token = tokenOf(await linkTo(person.email))
    for (const method of ['GET', 'HEAD'])
      expect((await call(gateway, `/api/v1/auth/email/verify?token=${token}`, { method })).status).toBe(200)
    expect((await call(gateway, '/api/v1/auth/me', { token: body.access_token })).body.email_verified).toBe(false)
  })
})

describe.each(['/email/verify', '/password/reset', '/login/confirm'])('the page %s', (path) => {
  const asksForPassword = path !== '/login/confirm'
  const open = () => call<string>(gateway, `/api/v1/auth${path}`)
  const inline = (html: string, tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, 'g'))].map(([, text]) => text!)
  const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

  it('runs and loads nothing but what its policy names by hash', async () => {
    const { status, headers, body } = await open()
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/html; charset=utf-8')
    const [[script], [style]] = [inline(body, 'script'), inline(body, 'style')]
    const policy = Object.fromEntries(
      headers
        .get('content-security-policy')!
        .split(';')
        .map((directive) => [directive.split(' ')[0], directive.slice(directive.indexOf(' ') + 1)]),
    )
    expect(policy).toEqual({
      'default-src': "'none'",
      'script-src': sha256(script!),
      'style-src': sha256(style!),
      'connect-src': "'self'",
      'base-uri': "'none'",
      'form-action': "'none'",
      'frame-ancestors': "'none'",
      'require-trusted-types-for': "'script'",
    })
    expect(body.match(/<script|<style/g)).toHaveLength(2)
    expect(body).not.toMatch(/\b(src|href|style|on\w+)=|https?:/)
  })

  it('sends no Referer, is not cached, and cannot be framed', async () => {
    const { headers } = await open()
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-frame-options')).toBe('DENY')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
  })

  it('can be used without eyes and without a mouse: a language, a heading, labels, a place that is read out', async () => {
    const { body } = await open()
    expect(body).toMatch(/<html lang="en">/)
    expect(body.match(/<h1>/g)).toHaveLength(1)
    expect(body).toMatch(/role="status" tabindex="-1"/)
    for (const [, id] of body.matchAll(/<input id="(\w+)"/g)) expect(body).toContain(`<label for="${id}">`)
    expect(body).toContain('<noscript>')
    expect(body).toMatch(/<button type="submit">/)
  })

  /** The page's own script with as much of a browser as it uses. */
  async function browse(hash: string, answer: () => Promise<Response>, details = described) {
    const script = inline((await open()).body, 'script')[0]!
    type Listener = (event: object) => void
    const element = (attributes: object = {}) => {
      const listeners = new Map<string, Listener>()
      const values = new Map<string, string>()
      return {
        textContent: '',
        hidden: true,
        value: '',
        dataset: { done: 'It is done.' },
        ...attributes,
        listeners,
        getAttribute: (name: string) => values.get(name) ?? null,
        setAttribute: (name: string, value: string) => void values.set(name, value),
        addEventListener: (name: string, listener: Listener) => void listeners.set(name, listener),
        focus() {},
      }
    }
    const isReset = path === '/password/reset'
    const name = isReset ? 'new_password' : 'password'
    const secret = asksForPassword ? element({ name, type: 'password', value: 'a plain zebra' }) : null
    const parts: Record<string, ReturnType<typeof element> | null> = {
      button: element(),
      'input[type=password]': secret,
      'input[name=username]': element(),
      '#asked': element(),
      '#shown': asksForPassword ? element() : null,
      'input[name=keep_api_keys]': isReset ? element({ checked: false, parentNode: element() }) : null,
    }
    const reported = element()
    const form = { ...element(), querySelector: (selector: string) => parts[selector] }
    const location = { hash, pathname: `/api/v1/auth${path}` }
    const sent: { url: string; init: any }[] = []
    const shown: unknown[] = []
    runInNewContext(script, {
      location,
      URLSearchParams,
      document: {
        querySelector: (selector: string) => (selector === 'form' ? form : reported),
      },
      history: { replaceState: (_state: null, _title: string, url: string) => shown.push(url) },
      fetch: (url: string, init: object) => {
        sent.push({ url, init })
        return url.endsWith('/details') ? details() : answer()
      },
    })
    const settled = async () => {
      for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve))
    }
    await settled()
    const submit = async () => {
      form.listeners.get('submit')!({ preventDefault() {} })
      await settled()
    }
    return { form, parts, reported, field: name, sent, shown, submit }
  }
  const DETAILS = { username: 'ann', email: 'ann@example.com', requested_at: '2026-11-27T03:19:00.000Z', device: 'Firefox on Linux' }
  const described = async () => new Response(JSON.stringify({ ...DETAILS, can_keep_api_keys: true }))
  const done = async () => new Response(null, { status: 204 })
  const refused = (body: object, status: number) => async () => new Response(JSON.stringify(body), { status })

  it('names the account, its address and the device before anything is sent that uses the link', async () => {
    const page = await browse('#token=abc-_123', done)
    expect(page.sent.map(({ url, init }) => [url, JSON.parse(init.body)])).toEqual([[`/api/v1/auth${path}/details`, { token: 'abc-_123' }]])
    expect(page.parts['input[name=username]']!.value).toBe('ann')
    expect(page.parts['#asked']!.textContent).toMatch(/^The link was asked for from Firefox on Linux on .*2026.*, for ann@example\.com\.$/)
    expect(page.form.hidden).toBe(false)
    expect(page.reported.textContent).toBe('')
  })

  it('has the fields that password managers look for: the account, and a password of the right kind', async () => {
    const { body } = await open()
    expect(body).toContain('<input id="username" name="username" autocomplete="username" readonly>')
    const kind = path === '/password/reset' ? 'new-password' : 'current-password'
    const fields = body.match(/type="password" autocomplete="[^"]+"/g) ?? []
    expect(fields).toEqual(asksForPassword ? [`type="password" autocomplete="${kind}"`] : [])
  })

  it('of an invalid link says so at once, and asks for no password', async () => {
    const page = await browse('#token=abc', done, refused({ code: 'link_invalid', detail: 'The link is not valid.' }, 400))
    expect([page.reported.textContent, page.form.hidden]).toEqual(['The link is not valid.', true])
  })

  it('removes the token from the address bar, and uses it on submit, only at the gateway', async () => {
    const page = await browse('#token=abc-_123', done)
    expect(page.shown).toEqual([`/api/v1/auth${path}`])
    expect(page.form.hidden).toBe(false)
    expect(page.sent).toHaveLength(1)
    await page.submit()
    expect(page.sent).toHaveLength(2)
    const { url, init } = page.sent[1]!
    expect(url).toBe(`/api/v1/auth${path}`)
    expect(init).toMatchObject({ method: 'POST', headers: { 'content-type': 'application/json' }, credentials: 'omit' })
    expect(JSON.parse(init.body)).toEqual({ token: 'abc-_123', ...(asksForPassword ? { [page.field]: 'a plain zebra' } : {}) })
    expect(page.reported.textContent).toBe('It is done.')
    expect(page.form.hidden).toBe(true)
  })

  it('says what is wrong, and lets its reader try again where that is of use', async () => {
    const dead = await browse('#token=abc', refused({ code: 'link_invalid', detail: 'The link is not valid.' }, 400))
    await dead.submit()
    expect([dead.reported.textContent, dead.form.hidden]).toEqual(['The link is not valid.', true])
    const field = path === '/password/reset' ? 'new_password' : 'password'
    const errors = [{ field, code: 'too_short', detail: 'must be at least 12 characters long' }]
    const short = await browse('#token=abc', refused({ code: 'validation_failed', detail: 'The body is wrong.', errors }, 422))
    await short.submit()
    expect([short.reported.textContent, short.form.hidden]).toEqual(['The password must be at least 12 characters long.', false])
    const wrong = await browse('#token=abc', refused({ code: 'invalid_credentials', detail: 'The password is wrong.' }, 401))
    await wrong.submit()
    expect([wrong.reported.textContent, wrong.form.hidden]).toEqual(['The password is wrong.', false])
    const offline = await browse('#token=abc', () => Promise.reject(new Error('offline')))
    await offline.submit()
    expect([offline.reported.textContent, offline.form.hidden]).toEqual(['That did not work. Try again in a moment.', false])
  })

  it('keeps API keys only when the reader ticks the box, which is shown only where there are keys', async () => {
    const page = await browse('#token=abc', done)
    const keep = page.parts['input[name=keep_api_keys]'] as any
    if (path !== '/password/reset') return expect(keep).toBeNull()
    expect(keep.parentNode.hidden).toBe(false)
    keep.checked = true
    await page.submit()
    expect(JSON.parse(page.sent[1]!.init.body)).toMatchObject({ keep_api_keys: true })
    const without = await browse('#token=abc', done, async () => new Response(JSON.stringify({ ...DETAILS, can_keep_api_keys: false })))
    expect((without.parts['input[name=keep_api_keys]'] as any).parentNode.hidden).toBe(true)
  })

  it('without a token asks for the link, and sends nothing', async () => {
    const page = await browse('', done)
    expect(page.sent).toEqual([])
    expect(page.reported.textContent).toMatch(/^This page needs the link from the mail\. Open the link again, or ask for a new link\.$/)
    expect(page.form.hidden).toBe(true)
  })
})

it('what a link proves is of its user alone: a token is no answer to the question who that is', async () => {
  const other = await startGateway()
  const [ann, bob] = [await newUser(other), await newUser(other)]
  const token = tokenOf((await mailsTo(other, ann.email)).at(-1)!)
  const proof = { token, password: ann.password }
  const body = { ...proof, user_id: bob.id, email: bob.email }
  expect((await call(other, '/auth/email/verify', { body, token: bob.token })).status).toBe(422)
  expect((await call(other, '/auth/email/verify', { body: proof, token: bob.token })).body).toMatchObject({ id: ann.id })
  expect((await call(other, '/auth/me', { token: bob.token })).body.email_verified).toBe(false)
  await other.close()
})
