/** GitHub's endpoints for sign-in, with the shapes of its real answers, below one address as GitHub Enterprise Server has them. */
import { createHash, randomBytes } from 'node:crypto'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeGitHub {
  issuer: string
  port: number
  clientId: string
  clientSecret: string
  user: { id: number; login: string }
  emails: { email: string; primary: boolean; verified: boolean; visibility: string | null }[]
  /** Statuses in place of 200, by path. */
  statuses: Record<string, number>
  /** The error of the token endpoint, which GitHub answers with 200. */
  tokenError: string | null
  seen: { path: string; query: URLSearchParams; body: URLSearchParams; headers: http.IncomingHttpHeaders }[]
  close(): Promise<void>
}

export async function startFakeGitHub(): Promise<FakeGitHub> {
  const codes = new Map<string, URLSearchParams>()
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url!, 'http://github.test')
    let text = ''
    for await (const chunk of request.setEncoding('utf8')) text += chunk
    github.seen.push({ path: url.pathname, query: url.searchParams, body: new URLSearchParams(text), headers: request.headers })
    answer(url, new URLSearchParams(text), request.headers, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const github: FakeGitHub = {
    issuer: `http://127.0.0.1:${port}`,
    port,
    clientId: 'Iv1.0123456789abcdef',
    clientSecret: randomBytes(20).toString('hex'),
    user: { id: 583231, login: 'octocat' },
    emails: [
      { email: 'octocat@example.com', primary: true, verified: true, visibility: 'public' },
      { email: '583231+octocat@users.noreply.example.com', primary: false, verified: true, visibility: null },
    ],
    statuses: {},
    tokenError: null,
    seen: [],
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  const json = (response: ServerResponse, status: number, value: unknown): unknown =>
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value))

  function answer(url: URL, body: URLSearchParams, headers: http.IncomingHttpHeaders, response: ServerResponse): unknown {
    const status = github.statuses[url.pathname]
    if (status !== undefined)
      return json(response, status, {
        message: 'Resource not accessible by integration',
        documentation_url: 'https://docs.github.com/rest',
      })
    const isKnown = headers.authorization === 'Bearer gho_16C7e42F292c6912E7710c838347Ae178B4a'
    switch (url.pathname) {
      case '/login/oauth/authorize': {
        const code = randomBytes(10).toString('hex')
        codes.set(code, url.searchParams)
        const back = new URLSearchParams({ code, state: url.searchParams.get('state')! })
        return response.writeHead(302, { location: `${url.searchParams.get('redirect_uri')}?${back}` }).end()
      }
      case '/login/oauth/access_token': {
        const asked = codes.get(body.get('code') ?? '')
        codes.delete(body.get('code') ?? '')
        const challenge = createHash('sha256')
          .update(body.get('code_verifier') ?? '')
          .digest('base64url')
        const isRight = asked?.get('code_challenge') === challenge && body.get('client_secret') === github.clientSecret
        if (github.tokenError !== null || !isRight)
          return json(response, 200, {
            error: github.tokenError ?? 'bad_verification_code',
            error_description: 'The code passed is incorrect or expired.',
            error_uri: 'https://docs.github.com',
          })
        return json(response, 200, {
          access_token: 'gho_16C7e42F292c6912E7710c838347Ae178B4a',
          token_type: 'bearer',
          scope: 'read:user,user:email',
        })
      }
      case '/api/v3/user':
        return isKnown
          ? json(response, 200, { ...github.user, node_id: 'MDQ6VXNlcjU4MzIzMQ==', type: 'User', name: 'The Octocat', email: null })
          : json(response, 401, { message: 'Bad credentials' })
      case '/api/v3/user/emails':
        return isKnown ? json(response, 200, github.emails) : json(response, 401, { message: 'Bad credentials' })
      default:
        return json(response, 404, { message: 'Not Found' })
    }
  }

  return github
}
