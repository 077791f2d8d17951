/** What the account pages share: the links to each other, the notice after a change, and the fields that show who acts. */
import type { Clock } from '../../../platform/lib/clock.ts'
import { type ErrorCode, invalidField, problem } from '../../../platform/lib/errors.ts'
import type { TextKey } from '../../../platform/texts/en.ts'
import type { Language } from '../../../platform/texts/texts.ts'
import { requireFactor } from '../../access/access-policy.ts'
import type { Principal } from '../../access/principal.ts'
import { requireSession } from '../../access/require-auth.ts'
import { hasStepUp } from '../../credentials/require-step-up.ts'
import type { OwnUserView } from '../../users/user-view.ts'
import { type Html, html, type Part } from '../html.ts'
import type { View } from '../layout.ts'
import { type FieldOptions, type Fields, field, formNotice, LENGTHS, messageOf, notice, type Outcome, type Page } from '../page-kit.ts'
import { ACCOUNT_SECTIONS, withReturnTo } from '../return-to.ts'

export type Section = (typeof ACCOUNT_SECTIONS)[number]

const TITLES: Record<Section, TextKey> = {
  '': 'account.title',
  '/profile': 'account.profile.title',
  '/password': 'account.password.title',
  '/factors': 'account.factors.title',
  '/passkeys': 'account.passkeys.title',
  '/logins': 'account.logins.title',
  '/sessions': 'account.sessions.title',
  '/api-keys': 'account.keys.title',
  '/delete': 'account.delete.title',
}

/** A page of a user who has logged in. */
export interface AccountPage extends Page {
  principal: Principal
}

export interface AccountFrame {
  /** The path of a page. @param done what was done: the page shows a notice about it */
  to(section: Section, done?: string): string
  /** @param notices the text for each `done` */
  view(page: Page, section: Section, body: Part, options?: { notices?: Readonly<Record<string, TextKey>>; title?: TextKey }): View
  /**
   * A form of a page with several forms.
   * @param action names the form
   * @param returnTo where the reader wants to go on
   */
  form(page: Page, section: Section, options: FormOptions, content: Part): Html
  /** The fields for a change of what can log in. Without a need for them: nothing. */
  proof(page: Page, action: string, user: Pick<OwnUserView, 'mfa_enabled' | 'has_password'>, options?: ProofOptions): Part
}

export interface FormOptions {
  action: string
  submit: TextKey
  button?: 'quiet' | 'danger' | 'quiet small'
  /** The whole name of the button, where the page has several of the kind. It begins with its text. */
  label?: string
  returnTo?: string | null
}

export interface ProofOptions {
  /** The change needs the password even after a recent login. */
  needsPassword?: boolean
}

/** @param hidden the pages that this configuration does not have */
export function createAccountFrame({ base, clock, hidden }: { base: string; clock: Clock; hidden: ReadonlySet<Section> }): AccountFrame {
  const sections = ACCOUNT_SECTIONS.filter((section) => !hidden.has(section))
  const to = (section: Section, done?: string) => `${base}/account${section}${done === undefined ? '' : `?done=${done}`}`

  function navigationOf({ text }: Page, current: Section) {
    const textOf = (section: Section) => text(section === '' ? 'account.overview' : TITLES[section])
    const links = sections.map((section) => ({ to: to(section), text: textOf(section), isCurrent: section === current }))
    return { label: text('page.account'), links }
  }

  return {
    to,
    view(page, section, body, { notices = {}, title = TITLES[section] } = {}) {
      const { done } = page.query
      const said = page.form.problem === null && done !== undefined && Object.hasOwn(notices, done) ? notices[done]! : null
      return {
        title: page.text(title),
        navigation: navigationOf(page, section),
        body: html`${said !== null && notice(page.text(said))}${body}`,
      }
    },
    form(page, section, { action, submit, button, label, returnTo = null }, content) {
      return html`<form method="post" action="${withReturnTo(to(section), returnTo)}">
<input type="hidden" name="action" value="${action}">
${noticeOf(page, action)}
${content}
<button${button !== undefined && html` class="${button}"`}${label !== undefined && html` aria-label="${label}"`}>${page.text(submit)}</button>
</form>`
    },
    proof(page, action, { mfa_enabled, has_password }, { needsPassword: wantsPassword = false } = {}) {
      const needsPassword = wantsPassword && has_password
      const isRefused = isOf(page, action) && page.form.problem?.code === 'reauthentication_required'
      const isFresh = page.principal !== null && !isRefused && hasStepUp(page.principal, { mfa_enabled }, clock.now())
      return [
        !isFresh && !needsPassword && html`<p class="hint">${page.text('account.proof')}</p>`,
        !isFresh &&
          (!has_password || mfa_enabled) &&
          html`<p><a class="button quiet" href="${withReturnTo(`${base}/login`, page.request.url)}">${page.text('again.title')}</a></p>`,
        (needsPassword || (!isFresh && has_password)) &&
          entry(page, action, {
            name: 'current_password',
            label: 'field.current-password',
            type: 'password',
            autocomplete: 'current-password',
          }),
        !isFresh && mfa_enabled && codeEntry(page, action),
      ]
    },
  }
}

/** A code of the app or a backup code. */
export const codeEntry = (page: Page, action: string, hint: TextKey = 'account.code-hint'): Html =>
  entry(page, action, { name: 'code', label: 'field.code', autocomplete: 'one-time-code', hint: page.text(hint), maxLength: 32 })

const isOf = ({ form }: Page, action: string): boolean => form.typed.action === action

/** The field that an error is about, where the service names none. */
const FIELD_OF: Partial<Record<ErrorCode, string>> = {
  invalid_credentials: 'current_password',
  invalid_code: 'code',
}
/** In an account, only the password can be wrong. */
const TEXT_OF: Partial<Record<ErrorCode, TextKey>> = { invalid_credentials: 'account.wrong-password' }

/** A field of one of several forms: the other forms show neither its error nor what was typed. */
export function entry(page: Page, action: string, options: FieldOptions): Html {
  const id = `${action}-${options.name}`
  if (!isOf(page, action)) return field({ ...page, form: { typed: {}, errors: [], problem: null } }, { ...options, id })
  const { problem } = page.form
  const isMine = problem !== null && FIELD_OF[problem.code] === options.name
  return field(page, { ...options, id, ...(isMine ? { error: sentenceOf(page, problem) } : {}) })
}

function sentenceOf({ text, language }: Page, problem: { code: ErrorCode; detail: string }): string {
  const key = TEXT_OF[problem.code]
  return key ? text(key) : messageOf(problem, language)
}

/** Above a form: why it was refused. */
function noticeOf(page: Page, action: string): Html | null {
  const { problem, errors } = page.form
  if (!isOf(page, action) || problem === null) return null
  const name = FIELD_OF[problem.code]
  const ofField = name === undefined ? [] : [{ field: name, code: 'format' as const, detail: problem.detail }]
  return formNotice({ ...page, form: { ...page.form, errors: [...errors, ...ofField] } })
}

/** For pages that a user may open only once a demanded password or factor is set. @throws password_change_required, mfa_required */
export function requireComplete(page: Page): AccountPage {
  const { principal } = requireUser(page)
  requireFactor(principal)
  return page as AccountPage
}

/** @throws token_missing, forbidden, password_change_required */
export function requireUser(page: Page): AccountPage {
  const person = requirePerson(page)
  if (person.principal.mustChangePassword) throw problem('password_change_required')
  return person
}

/** The page of the password opens also for a user who must change it. @throws token_missing, forbidden */
export function requirePerson(page: Page): AccountPage {
  if (!page.principal) throw problem('token_missing')
  requireSession(page.principal)
  return page as AccountPage
}

/** What a form says about who acts. The service checks everything that is sent. @throws validation_failed */
export function proofOf({ current_password, code }: Fields): { current_password?: string; code?: string } {
  if ((current_password?.length ?? 0) > LENGTHS.password) throw invalidField('current_password', 'too_long', 'is too long')
  if ((code?.length ?? 0) > LENGTHS.code) throw invalidField('code', 'too_long', 'is too long')
  return { ...(current_password === undefined ? {} : { current_password }), ...(code === undefined ? {} : { code }) }
}

/** The handlers of a page with several forms, by the name of each form. @throws validation_failed for another name */
export function act(handlers: Readonly<Record<string, (page: AccountPage, fields: Fields) => Promise<Outcome>>>) {
  return (page: AccountPage, fields: Fields): Promise<Outcome> => {
    const handler = Object.hasOwn(handlers, fields.action ?? '') ? handlers[fields.action!] : undefined
    if (!handler) throw problem('validation_failed', { cause: 'the form has another action' })
    return handler(page, fields)
  }
}

/** A point in time. A script shows it in the reader's own time zone. */
export const timeOf = (language: Language, instant: string): Html =>
  html`<time datetime="${instant}">${new Intl.DateTimeFormat(language.code, { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' }).format(new Date(instant))} UTC</time>`

export const badge = (text: string, kind: 'good' | 'warn' | 'plain' = 'plain'): Html => html`<span class="badge ${kind}">${text}</span>`
