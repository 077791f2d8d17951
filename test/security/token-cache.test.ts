/** What was proved once is good for this very token, as long as its key, its session and its lifetime are. */
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, type TestUser } from '../support/client.ts'
import { type Gateway, metric, startGateway } from '../support/gateway.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, headerOf, logout, refresh } from '../support/session.ts'
import { retireCurrent } from '../support/signing-keys.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const PATHS = ['/users', '/open', '/auth/me']
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

// an RSA token is long; Ed25519 signatures end in two bits that no byte uses, HMACs in two others
describe.each(['EdDSA', 'ES256', 'RS256', 'HS256'])('beside a cached %s token', (algorithm) => {
  let upstream: Upstream
  let gateway: Gateway
  let user: TestUser
  beforeAll(async () => {
    upstream = await startUpstream()
    const to = (name: string, access: string) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access })
    gateway = await startGateway({
      config: { tokens: { algorithm, keyPollSeconds: 3600 } },
      routes: [to('users', 'authenticated'), to('open', 'public')],
    })
    user = await newUser(gateway)
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  const hits = () => metric(gateway, 'portcullis_token_cache_total', { result: 'hit' })
  /** Good at every place, and known from now on. */
  async function warm(token: string): Promise<void> {
    await call(gateway, '/users', { token })
    const before = await hits()
    for (const path of PATHS) expect((await call(gateway, path, { token })).status).toBe(200)
    expect(await hits()).toBe(before + PATHS.length)
    upstream.take()
  }
  async function isRefused(token: string, code = 'token_invalid'): Promise<void> {
    for (const path of PATHS) {
      const { status, body } = await call(gateway, path, { token })
      expect({ path, status, code: body.code }).toEqual({ path, status: 401, code })
    }
    expect(upstream.take()).toEqual([])
  }

  it('the same token is known, and kept once, however its header is spelled', async () => {
    await warm(user.token)
    const misses = () => metric(gateway, 'portcullis_token_cache_total', { result: 'miss' })
    const [missesBefore, hitsBefore] = [await misses(), await hits()]
    const spellings = ['bearer ', 'BEARER ', 'Bearer  ', `Bearer${' '.repeat(1000)}`]
    for (const spelling of spellings)
      expect((await call(gateway, '/users', { headers: { authorization: spelling + user.token } })).status).toBe(200)
    expect(await misses()).toBe(missesBefore)
    expect(await hits()).toBe(hitsBefore + spellings.length)
    upstream.take()
  })

  it('a token that differs in one character is another one, wherever it differs and in whatever', async () => {
    await warm(user.token)
    const { token } = user
    const step = Math.ceil(token.length / 60)
    // the last characters hold bits of padding; those around a dot border on two parts
    const places = [...token]
      .map((_, i) => i)
      .filter((i) => i % step === 0 || i > token.length - 4 || token.slice(i - 1, i + 2).includes('.'))
    const swapped = (c: string) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())
    for (const i of places) {
      const c = token[i]!
      const others = c === '.' ? ['', '..', '%2E'] : [swapped(c), ALPHABET[ALPHABET.indexOf(c) ^ 1]!, ALPHABET[ALPHABET.indexOf(c) ^ 16]!]
      for (const other of others.filter((o) => o !== c)) {
        const changed = token.slice(0, i) + other + token.slice(i + 1)
        expect((await call(gateway, '/users', { token: changed })).body, `${other} for ${c} at ${i}`).toMatchObject({
          code: 'token_invalid',
        })
      }
    }
    expect(upstream.take()).toEqual([])
    await warm(token)
  })

  it('a token with the signature of another good one, or of none, is refused', async () => {
    const other = await newUser(gateway)
    for (const { token } of [user, other]) await warm(token)
    const [a, b] = [user, other].map(({ token }) => token.split('.')) as [string[], string[]]
    await isRefused([a[0], a[1], b[2]].join('.'))
    await isRefused([b[0], b[1], a[2]].join('.'))
    await isRefused(`${a[0]}.${a[1]}.`)
    await isRefused(`${a[0]}.${a[1]}.${a[2]}${b[2]}`)
  })

  it('the same claims under another typ, signed with the same key, are refused', async () => {
    await warm(user.token)
    const { privateKey } = gateway.app.identity.keyring.signing()
    const header = headerOf(user.token)
    await isRefused(await new SignJWT(claimsOf(user.token)).setProtectedHeader({ ...header, typ: 'mfa+jwt' }).sign(privateKey))
  })

  it('the token itself is refused once its session has ended', async () => {
    const leaving = await newUser(gateway)
    await warm(leaving.token)
    expect((await logout(gateway, leaving.token)).status).toBe(204)
    await isRefused(leaving.token, 'token_revoked')
    const stolen = await newUser(gateway)
    await warm(stolen.token)
    const { body } = await refresh(gateway, stolen.refreshToken)
    await refresh(gateway, body.refresh_token)
    // its child was used: this is theft, and the family ends
    expect((await refresh(gateway, stolen.refreshToken)).body.code).toBe('refresh_reused')
    for (const token of [stolen.token, body.access_token]) await isRefused(token, 'token_revoked')
  })

  it('the token itself is refused once its time is over', async () => {
    const { token } = await newUser(gateway)
    await warm(token)
    gateway.clock.advance(906_000)
    await isRefused(token, 'token_expired')
    // the database has its own clock, which says when a key was retired
    gateway.clock.advance(-906_000)
  })

  // last: it takes the key away
  it('the token itself is refused once its key is gone, or another key has its name', async () => {
    const { secrets } = gateway.app.platform
    const { keyring } = gateway.app.identity
    const { token } = await newUser(gateway)
    const { kid } = headerOf(token)
    await warm(token)
    await retireCurrent(gateway)
    const next = keyring.signing()
    await warm(token)
    await rows(gateway, 'DELETE FROM signing_keys WHERE kid = $1', [kid])
    await keyring.reload()
    await isRefused(token)

    // the new key's parts, sealed and vouched for as the old one's
    const place = (row: string) => ({ table: 'signing_keys', row, column: 'private_sealed', owner: '' })
    const [row] = await rows<any>(gateway, 'SELECT * FROM signing_keys WHERE kid = $1', [next.kid])
    const mac = secrets.mac('signing_keys', `${kid}|${algorithm}|${row.public_jwk}`)
    const sealed = secrets.seal(place(kid), secrets.open(place(next.kid), row.private_sealed))
    await rows(
      gateway,
      `INSERT INTO signing_keys (kid, algorithm, state, public_jwk, public_mac, private_sealed, activates_at, retired_at)
       VALUES ($1, $2, 'retired', $3, $4, $5, clock_timestamp(), clock_timestamp())`,
      [kid, algorithm, row.public_jwk, mac, sealed],
    )
    await keyring.reload()
    expect(keyring.known(kid)).toBeDefined()
    await isRefused(token)
    // and its name is that of a good key: what this one signs under it is accepted
    const { privateKey } = keyring.signing()
    await warm(await new SignJWT(claimsOf(token)).setProtectedHeader(headerOf(token)).sign(privateKey))
  })
})
