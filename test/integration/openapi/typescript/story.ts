/** A program with the generated types: registers, logs in, refreshes, lists sessions, reads a problem, logs out. Prints its steps as JSON. */
import createClient from 'openapi-fetch'
import type { components, paths } from './schema.d.ts'

type Problem = components['schemas']['Problem']
type ErrorCode = components['schemas']['ErrorCode']

const [baseUrl = '', name = ''] = process.argv.slice(2)
const client = createClient<paths>({ baseUrl })
const steps: unknown[] = []

// @ts-expect-error a code that is not in the document does not compile
const misspelt: ErrorCode = 'invalid_credential'

/** Each code is handled by its name. */
function adviceFor({ code }: Problem): string {
  switch (code satisfies ErrorCode) {
    case 'invalid_credentials':
      return 'check the password'
    case 'token_revoked':
    case 'token_expired':
      return 'log in again'
    default:
      return 'try again later'
  }
}

const account = { username: name, email: `${name}@example.com`, password: 'plain zebra in the meadow' }
const registered = await client.POST('/auth/register', { body: account })
steps.push(registered.response.status)

const refused = await client.POST('/auth/login', { body: { login: name, password: 'not the password' } })
if (refused.error) steps.push(refused.error.code, adviceFor(refused.error))

const { data: login } = await client.POST('/auth/login', { body: { login: name, password: account.password } })
if (!login || 'mfa_required' in login || !('refresh_token' in login)) throw new Error('the login gave no tokens')
steps.push(login.user.username, login.token_type)

const { data: renewed } = await client.POST('/auth/refresh', { body: { refresh_token: login.refresh_token } })
if (!renewed) throw new Error('the refresh gave no tokens')

const headers = { authorization: `Bearer ${renewed.access_token}` }
const { data: list } = await client.GET('/auth/sessions', { headers })
steps.push(list?.sessions.length, list?.sessions.filter(({ current }) => current).length)

const ended = await client.POST('/auth/logout', { headers })
steps.push(ended.response.status)
const after = await client.GET('/auth/me', { headers })
if (after.error) steps.push(after.error.code, adviceFor(after.error))

void misspelt
console.log(JSON.stringify(steps))
