// Verifies tokens with JavaScript libraries. Standard input: one JSON object; standard output: a line for each library and token.
import { createPublicKey } from 'node:crypto'
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

// the packages lie in a folder of their own, which is the working directory
const require = createRequire(pathToFileURL(`${process.cwd()}/`))
const load = async (name) => import(pathToFileURL(require.resolve(name)).href)
// one after the other: these packages require each other
const jose = await load('jose')
const { default: jsonwebtoken } = await load('jsonwebtoken')
const { JwksClient } = await load('jwks-rsa')
const oauth = await load('oauth4webapi')
const { auth } = await load('express-oauth2-jwt-bearer')
const { createVerifier } = await load('fast-jwt')

const throughExpress =
  (strict) =>
  async (token, { alg, issuer, audience, jwks_uri }) => {
    const middleware = auth({ issuer, jwksUri: jwks_uri, audience, tokenSigningAlg: alg, strict })
    const headers = { host: 'api.test', authorization: `Bearer ${token}` }
    const request = {
      headers,
      method: 'GET',
      url: '/',
      originalUrl: '/',
      protocol: 'http',
      query: {},
      socket: {},
      is: () => false,
      get: (name) => headers[name.toLowerCase()],
    }
    await new Promise((resolve, reject) => middleware(request, {}, (error) => (error ? reject(error) : resolve())))
  }

/** Each resolves for a good token. */
const VERIFIERS = {
  jose: (token, { alg, issuer, audience, jwks_uri }) =>
    jose.jwtVerify(token, jose.createRemoteJWKSet(new URL(jwks_uri)), { issuer, audience, algorithms: [alg] }),
  async jsonwebtoken(token, { alg, issuer, audience, jwks_uri }) {
    const { kid } = jsonwebtoken.decode(token, { complete: true }).header
    const key = await new JwksClient({ jwksUri: jwks_uri, cache: false }).getSigningKey(kid)
    jsonwebtoken.verify(token, key.getPublicKey(), { issuer, audience, algorithms: [alg] })
  },
  oauth4webapi: (token, { issuer, audience, jwks_uri }) =>
    oauth.validateJwtAccessToken(
      { issuer, jwks_uri },
      new Request('http://api.test/', { headers: { authorization: `Bearer ${token}` } }),
      audience,
      { [oauth.allowInsecureRequests]: true },
    ),
  'express-oauth2-jwt-bearer': throughExpress(false),
  'express-oauth2-jwt-bearer, strict': throughExpress(true),
  async 'fast-jwt'(token, { alg, issuer, audience, jwks_uri }) {
    const { keys } = await (await fetch(jwks_uri)).json()
    const key = async ({ header }) =>
      createPublicKey({ key: keys.find(({ kid }) => kid === header.kid), format: 'jwk' }).export({ type: 'spki', format: 'pem' })
    await createVerifier({ key, complete: true, algorithms: [alg], allowedIss: issuer, allowedAud: audience })(token)
  },
}

const { tokens, ...expected } = JSON.parse(await text(process.stdin))
for (const [library, verify] of Object.entries(VERIFIERS))
  for (const [name, { token, ...own }] of Object.entries(tokens)) {
    const answer = await verify(token, { ...expected, ...own }).then(
      () => ({ accepted: true }),
      (error) => ({ accepted: false, error: String(error.message ?? error) }),
    )
    console.log(JSON.stringify({ library, name, ...answer }))
  }
process.exit(0)
