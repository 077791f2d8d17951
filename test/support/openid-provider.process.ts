/**
 * A real OpenID provider, `oidc-provider`, in a process of its own. The first argument is its description as JSON, see openid-provider.ts. Its
 * login page asks for the name of a person; without a name it is the person of the last login. It agrees to everything by itself. Its client
 * gets access tokens for itself, too: JWTs of RFC 9068 for the audience `api`. The message `rotate` makes it sign with another key.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
// @ts-expect-error the package has no types of its own
import Provider from 'oidc-provider'

interface Person {
  sub: string
  [claim: string]: unknown
}

interface Description {
  clientId: string
  clientSecret: string
  /** `{server.publicUrl}{auth.prefix}` of the gateway. */
  gateway: string
  id: string
  people: Person[]
}

const { clientId, clientSecret, gateway, id, people } = JSON.parse(process.argv[2]!) as Description
const byName = new Map(people.map((person) => [person.sub, person]))

const server = createServer()
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

async function newKey(kid: string): Promise<object> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  return { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' }
}

/** The usual page loads a font of another site. */
async function askForLogout(ctx: { type: string; body: string }, form: string): Promise<void> {
  ctx.type = 'html'
  ctx.body = `<!doctype html><html lang="en"><title>Provider</title><main><h1>Log out?</h1>${form}<button form="op.logoutForm" name="logout" value="yes">Log out</button></main></html>`
}

const make = (keys: object[]) =>
  new Provider(issuer, {
    clients: [
      {
        client_id: clientId,
        client_secret: clientSecret,
        redirect_uris: [`${gateway}/providers/${id}/callback`],
        post_logout_redirect_uris: [`${gateway}/ui/login?done=logout`],
        backchannel_logout_uri: `${gateway}/providers/${id}/backchannel-logout`,
        backchannel_logout_session_required: true,
        response_types: ['code'],
        grant_types: ['authorization_code', 'client_credentials'],
      },
    ],
    jwks: { keys },
    cookies: { keys: ['a key of a test'] },
    // claims of `email` and `profile` are in the ID token, as most providers have it
    conformIdTokenClaims: false,
    claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['preferred_username', 'name'] },
    findAccount: (_ctx: unknown, sub: string) => ({ accountId: sub, claims: async () => byName.get(sub) ?? { sub } }),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => false,
        getResourceServerInfo: () => ({ scope: 'orders.read', audience: 'api', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
      },
      rpInitiatedLogout: { enabled: true, logoutSource: askForLogout },
    },
    // the usual dispatcher refuses addresses of this machine
    fetch: (url: string, { dispatcher: _, ...options }: any) => fetch(url, options),
    pkce: { required: () => true },
    interactions: { url: (_ctx: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    ttl: { Session: 3600, Interaction: 600, Grant: 3600, IdToken: 600, AccessToken: 600, ClientCredentials: 600 },
    async loadExistingGrant(ctx: any) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId })
      grant.addOIDCScope('openid email profile')
      await grant.save()
      return grant
    },
    renderError: (ctx: any, out: object) => {
      ctx.type = 'json'
      ctx.body = out
    },
  })

let keys = [await newKey('one')]
let provider = make(keys)

process.on('message', async () => {
  // the next key is published beside the last one, and signs at once
  keys = [await newKey(randomUUID()), ...keys]
  provider = make(keys)
  process.send?.({ rotated: true })
})

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const uid = /^\/interaction\/([\w-]+)/.exec(request.url!)?.[1]
  if (uid === undefined) return provider.callback()(request, response)
  if (request.method === 'GET')
    return void response
      .setHeader('content-type', 'text/html; charset=utf-8')
      .end(
        `<!doctype html><html lang="en"><title>Provider</title><main><h1>Provider</h1><form method="post"><label>Name <input name="name"></label><button>Log in</button></form><a href="/interaction/${uid}/cancel">Cancel</a></main></html>`,
      )
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += chunk
  const name = new URLSearchParams(text).get('name') ?? ''
  await provider.interactionFinished(request, response, { login: { accountId: name } }, { mergeWithLastSubmission: false })
}

server.on('request', (request: IncomingMessage, response: ServerResponse) => {
  const isCancel = /^\/interaction\/[\w-]+\/cancel$/.test(request.url!)
  const done = isCancel
    ? provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'cancelled' })
    : answer(request, response)
  Promise.resolve(done).catch((error: Error) => response.writeHead(500).end(error.message))
})
process.send?.({ issuer })
process.on('disconnect', () => process.exit(0))
