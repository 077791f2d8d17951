/**
 * The pages that mailed links open. A page removes the token from the address bar. It asks with the token which account the link is of. The
 * link is used only when the user presses the button, since mail scanners open every link. A page loads nothing else, and its policy forbids all other scripts and resources.
 */
import { createHash } from 'node:crypto'
import type { Config } from '../../platform/config/schema.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import type { LinkPurpose } from '../credentials/credential-limits.ts'
import { LINK_PATHS, linkPathsOf } from './links.ts'

interface Page {
  title: string
  lead: string
  /** The fields of the form. Their names are the names in the body. */
  fields: string
  button: string
  /** The text after success. */
  done: string
}

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0; padding: 1.5rem }
main { max-width: 26rem; margin: 8vh auto 0 }
h1 { font-size: 1.5rem; line-height: 1.25 }
label { display: block; font-weight: 600; margin-top: 1rem }
label.check { font-weight: 400; margin-top: .5rem }
input:not([type=checkbox]) { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit; border: 1px solid #767676; border-radius: .4rem }
button { margin-top: 1.25rem; padding: .7rem 1.4rem; font: inherit; font-weight: 600; color: #fff; background: #1f5fbf; border: 0; border-radius: .4rem }
button[aria-disabled=true] { opacity: .6 }
:focus-visible { outline: 3px solid #7aa7ee; outline-offset: 2px }
.hint { margin: .25rem 0 }
[role=status] { margin-top: 1.25rem; font-weight: 600 }
[hidden] { display: none }
`

const SCRIPT = `
const form = document.querySelector('form')
const notice = document.querySelector('[role=status]')
const button = form.querySelector('button')
const secret = form.querySelector('input[type=password]')
const account = form.querySelector('input[name=username]')
const asked = form.querySelector('#asked')
const keep = form.querySelector('input[name=keep_api_keys]')
const token = new URLSearchParams(location.hash.slice(1)).get('token')
history.replaceState(null, '', location.pathname)

function show(text, isDone) {
  notice.textContent = text
  form.hidden = isDone
  if (isDone) notice.focus()
  else (secret || button).focus()
}

const post = (path, body) => fetch(location.pathname + path, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
  credentials: 'omit',
})

async function fail(answer) {
  const { code, detail, errors } = await answer.json()
  const faults = (errors || []).map((error) => 'The password ' + error.detail + '.').join(' ')
  show(faults || detail, code === 'link_invalid')
}

async function load() {
  const answer = await post('/details', { token })
  if (!answer.ok) return fail(answer)
  const { username, email, requested_at, device, can_keep_api_keys } = await answer.json()
  account.value = username || email
  const when = new Date(requested_at).toLocaleString([], { dateStyle: 'long', timeStyle: 'short' })
  asked.textContent = 'The link was asked for ' + (device ? 'from ' + device + ' ' : '') + 'on ' + when + ', for ' + email + '.'
  if (keep) keep.parentNode.hidden = !can_keep_api_keys
  show('', false)
}

async function send() {
  const kept = keep && keep.checked ? { keep_api_keys: true } : {}
  const answer = await post('', { token, ...(secret ? { [secret.name]: secret.value } : {}), ...kept })
  if (!answer.ok) return fail(answer)
  show(form.dataset.done, true)
}

const offline = () => show('That did not work. Try again in a moment.', false)

form.addEventListener('submit', (event) => {
  event.preventDefault()
  if (button.getAttribute('aria-disabled') === 'true') return
  button.setAttribute('aria-disabled', 'true')
  notice.textContent = ''
  send().catch(offline).finally(() => button.setAttribute('aria-disabled', 'false'))
})
if (secret) form.querySelector('#shown').addEventListener('change', (event) => {
  secret.type = event.target.checked ? 'text' : 'password'
})
if (token) load().catch(offline)
else show('This page needs the link from the mail. Open the link again, or ask for a new link.', true)
`

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Refuses all that is not listed. No page may frame this page, and no form may be submitted elsewhere. */
const POLICY = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: [hashOf(SCRIPT)],
      styleSrc: [hashOf(STYLE)],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      requireTrustedTypesFor: ["'script'"],
    },
  },
  referrerPolicy: { policy: 'no-referrer' as const },
  frameguard: { action: 'deny' as const },
}

const html = ({ title, lead, fields, button, done }: Page) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<noscript><p>This page needs JavaScript to send the token of the link.</p></noscript>
<form data-done="${done}" hidden>
<p>${lead}</p>
<p id="asked"></p>
<label for="username">Account</label>
<input id="username" name="username" autocomplete="username" readonly>
${fields}<button type="submit">${button}</button>
</form>
<p role="status" tabindex="-1"></p>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`

const pages = ({ minLength }: Config['auth']['password']): Record<LinkPurpose, Page> => ({
  verify_email: {
    title: 'Confirm your e-mail address',
    lead: 'You have opened the link that was mailed to you. Enter the password of this account to confirm that the address is yours.',
    fields: `<label for="password">Password</label>
<p class="hint" id="hint">The password that you chose for this account. If you have forgotten it, register again, or ask for a new password.</p>
<input id="password" name="password" type="password" autocomplete="current-password" aria-describedby="hint" required>
<label class="check"><input type="checkbox" id="shown"> Show the password</label>
`,
    button: 'Confirm the address',
    done: 'Thank you: the address is confirmed. You can close this page and log in.',
  },
  reset_password: {
    title: 'Set a new password',
    lead: 'You have opened the link that was mailed to you. Every device will have to log in again, and API keys end.',
    fields: `<label for="password">New password</label>
<p class="hint" id="hint">At least ${minLength} characters. A few unusual words are easy to remember and hard to guess.</p>
<input id="password" name="new_password" type="password" autocomplete="new-password" aria-describedby="hint" required>
<label class="check"><input type="checkbox" id="shown"> Show the password</label>
<label class="check" hidden><input type="checkbox" name="keep_api_keys"> Keep my API keys</label>
`,
    button: 'Set the password',
    done: 'The new password is set. You can close this page and log in.',
  },
  confirm_login: {
    title: 'Confirm your login',
    lead: 'A login to your account was right, and needs your confirmation: it came from a new country, or an administrator has removed your second factor. Confirm only if it was you.',
    fields: '',
    button: 'Yes, it was me',
    done: 'Thank you. You can close this page and log in again.',
  },
})

export const pageRoutes =
  ({ auth }: Pick<Config, 'auth'>) =>
  async (app: FastifyTypeProviderTypebox) => {
    for (const [purpose, page] of Object.entries(pages(auth.password))) {
      const path = LINK_PATHS[purpose as LinkPurpose]
      const text = html(page)
      const name = `auth${path.replaceAll('/', '.')}.page`
      // a link that was mailed before the pages for browsers were switched on: the browser keeps its fragment
      const present = auth.browser.enabled ? auth.prefix + linkPathsOf(auth)[purpose as LinkPurpose] : null
      app.get(path, { config: { name }, schema: { hide: true }, helmet: POLICY }, async (_request, reply) =>
        present === null ? reply.type('text/html; charset=utf-8').send(text) : reply.redirect(present, 303),
      )
    }
  }
