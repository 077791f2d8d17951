/** Keys for programs that act for the user. */
import type { Clock } from '../../../platform/lib/clock.ts'
import { invalidField, Problem } from '../../../platform/lib/errors.ts'
import type { TextKey } from '../../../platform/texts/en.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import type { ApiKeyInput, ApiKeys, ApiKeyView } from '../../api-keys/api-keys.service.ts'
import type { Grants } from '../../users/roles.ts'
import type { OwnUserView } from '../../users/user-view.ts'
import { type Html, html, type Part } from '../html.ts'
import type { Fields, Page, PageDefinition } from '../page-kit.ts'
import { type AccountFrame, type AccountPage, act, badge, entry, proofOf, requireComplete, timeOf } from './account-frame.ts'
import type { ShownOnce } from './shown-once.ts'

export interface ApiKeysDeps {
  frame: AccountFrame
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  apiKeys: ApiKeys
  grantsOf: (roles: readonly string[]) => Grants
  shownOnce: ShownOnce
  clock: Clock
}

const DAY_MS = 86_400_000
/** The choices for the life of a key. */
const LIVES: Record<string, TextKey> = {
  '30': 'account.keys.month',
  '90': 'account.keys.quarter',
  '365': 'account.keys.year',
  date: 'account.keys.date',
  never: 'account.keys.forever',
}
const DEFAULT_LIFE = '90'
const NAME = /^[^\p{Cc}\p{Cs}]{1,64}$/u

export function apiKeysPage({ frame, profile, apiKeys, grantsOf, shownOnce, clock }: ApiKeysDeps): PageDefinition {
  const submit = act({
    async create(page, fields) {
      const made = await apiKeys
        .create(page.principal, { ...inputOf(fields, clock.now()), ...proofOf(fields) }, page.context)
        .catch(inDateField)
      shownOnce.keep(page, 'api-key', made.key)
      return { to: frame.to('/api-keys', 'made') }
    },
    async revoke(page, { id = '' }) {
      await apiKeys.revoke(page.principal, id, page.context)
      return { to: frame.to('/api-keys', 'revoked') }
    },
  })

  function rowOf(page: Page, key: ApiKeyView): Html {
    const { text, language } = page
    const expires = key.expires_at
    const isExpired = expires !== null && Date.parse(expires) <= clock.now()
    const carried = [...key.roles, ...key.scopes]
    return html`<li class="row"><div>
<p class="name">${key.name} ${isExpired && badge(text('account.keys.expired'), 'warn')}</p>
<p class="hint"><span class="code">${key.hint}…</span>${carried.length > 0 && html` · ${carried.join(', ')}`}</p>
<p class="hint">${text('account.keys.made')} ${timeOf(language, key.created_at)} · ${
      key.last_used_at === null ? text('account.keys.unused') : [html`${text('account.keys.used')} `, timeOf(language, key.last_used_at)]
    } · ${expires === null ? text('account.keys.endless') : [html`${text('account.keys.until')} `, timeOf(language, expires)]}</p>
</div>
<details class="ask"><summary aria-label="${text('account.keys.revoke')}: ${key.name}">${text('account.keys.revoke')}</summary>
<p>${text('account.keys.revoke-means')}</p>
${frame.form(
  page,
  '/api-keys',
  { action: 'revoke', submit: 'account.keys.revoke-now', button: 'danger', label: `${text('account.keys.revoke-now')}: ${key.name}` },
  [html`<input type="hidden" name="id" value="${key.id}">`],
)}</details></li>`
  }

  function createForm(page: AccountPage, user: Pick<OwnUserView, 'mfa_enabled' | 'has_password'>, { roles, scopes }: Grants): Html {
    const { text, form } = page
    const typed = form.typed.action === 'create' ? form.typed : {}
    const life = typed.life ?? DEFAULT_LIFE
    const isChosen = typed.access === 'chosen'
    const isEmpty = form.errors.some(({ field }) => field === 'roles')
    const box = (kind: 'role' | 'scope', name: string) =>
      html`<label class="check"><input type="checkbox" name="${kind}:${name}" value="yes"${typed[`${kind}:${name}`] !== undefined && html` checked`}> <span>${name}</span></label>`
    const radio = (value: string, label: TextKey, isOn: boolean) =>
      html`<label class="check"><input type="radio" name="access" value="${value}"${isOn && html` checked`}> <span>${text(label)}</span></label>`
    return frame.form(page, '/api-keys', { action: 'create', submit: 'account.keys.create' }, [
      entry(page, 'create', {
        name: 'name',
        label: 'account.keys.name',
        autocomplete: 'off',
        hint: text('account.keys.name-hint'),
        maxLength: 64,
      }),
      html`<label for="create-life">${text('account.keys.life')}</label>
<select id="create-life" name="life">${Object.entries(LIVES).map(
        ([value, label]) => html`<option value="${value}"${value === life && html` selected`}>${text(label)}</option>`,
      )}</select>
<div class="if-date">`,
      entry(page, 'create', { name: 'expires_on', label: 'account.keys.on', type: 'date', autocomplete: 'off', isOptional: true }),
      html`</div>`,
      roles.length + scopes.length > 1 &&
        html`<fieldset><legend>${text('account.keys.access')}</legend>
${radio('all', 'account.keys.all', !isChosen)}
${radio('chosen', 'account.keys.chosen', isChosen)}
<div class="if-chosen">
${isEmpty && html`<p class="error" role="alert">${text('account.keys.choose')}</p>`}
${roles.length > 0 && html`<fieldset><legend>${text('account.keys.roles')}</legend>${roles.map((role) => box('role', role))}</fieldset>`}
${
  scopes.length > 0 &&
  html`<fieldset><legend>${text('account.keys.scopes')}</legend><p class="hint">${text('account.keys.scopes-hint')}</p>${scopes.map((scope) => box('scope', scope))}</fieldset>`
}
</div></fieldset>`,
      frame.proof(page, 'create', user),
    ])
  }

  return {
    path: '/account/api-keys',
    name: 'ui.account.api-keys',
    for: 'user',
    async show(opened) {
      const page = requireComplete(opened)
      const { text, principal } = page
      const [user, keys] = await Promise.all([profile.get(principal.id), apiKeys.list(principal.id)])
      const made = shownOnce.take(page, 'api-key')
      const shown: Part =
        made !== null &&
        html`<div class="notice"><p><strong>${text('account.keys.new')}</strong> ${text('account.keys.once')}</p>
<p><code class="code" id="key">${made}</code></p>
<p><button type="button" class="small" data-copy="key" data-done="${text('account.copied')}" hidden>${text('account.copy')}</button></p>
<p class="hint">${text('account.keys.how')} <code class="code">X-Api-Key</code></p></div>`
      return frame.view(
        page,
        '/api-keys',
        html`${shown}
<p>${text('account.keys.intro')}</p>
${keys.length === 0 ? html`<p class="hint">${text('account.keys.none')}</p>` : html`<ul class="rows">${keys.map((key) => rowOf(page, key))}</ul>`}
<section aria-labelledby="new-key"><h2 id="new-key">${text('account.keys.new-title')}</h2>
${createForm(page, user, grantsOf(user.roles))}</section>`,
        { notices: { revoked: 'account.keys.revoked' } },
      )
    },
    submit: (page, fields) => submit(requireComplete(page), fields),
  }
}

/** @throws validation_failed */
function inputOf(fields: Fields, now: number): ApiKeyInput {
  const { name = '', access, life = DEFAULT_LIFE, expires_on } = fields
  if (!NAME.test(name)) throw invalidField('name', name === '' ? 'required' : 'format', 'must have 1 to 64 characters, without line breaks')
  const [roles, scopes] = [chosen(fields, 'role:'), chosen(fields, 'scope:')]
  if (access === 'chosen' && roles.length + scopes.length === 0) throw invalidField('roles', 'required', 'must be chosen')
  return {
    name,
    ...(access === 'chosen' && roles.length > 0 ? { roles } : {}),
    ...(access === 'chosen' && scopes.length > 0 ? { scopes } : {}),
    ...expiryOf(life, expires_on, now),
  }
}

const chosen = (fields: Fields, kind: string): string[] =>
  Object.keys(fields).flatMap((name) => (name.startsWith(kind) ? [name.slice(kind.length)] : []))

function expiryOf(life: string, date: string | undefined, now: number): { expires_at?: string } {
  if (life === 'never') return {}
  if (life !== 'date') {
    if (!Object.hasOwn(LIVES, life)) throw invalidField('life', 'not_allowed', 'must be a listed choice')
    return { expires_at: new Date(now + Number(life) * DAY_MS).toISOString() }
  }
  if (date === undefined) throw invalidField('expires_on', 'required', 'is needed')
  // the whole of that day
  return { expires_at: `${date}T23:59:59Z` }
}

/** The service names its own field. @throws the error, at the field of the form */
function inDateField(error: unknown): never {
  const refusal = error instanceof Problem ? error.errors?.find(({ field }) => field === 'expires_at') : undefined
  throw refusal ? invalidField('expires_on', refusal.code, refusal.detail) : error
}
