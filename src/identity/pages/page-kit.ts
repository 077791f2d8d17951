/**
 * What all pages share: language, headers, forms and their errors. A page is rendered here and works without JavaScript. A form calls the
 * same service as the JSON API. When the service refuses, the page comes back with the reason at its field and with what was typed.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, type FieldError, Problem, problem } from '../../platform/lib/errors.ts'
import type { Client } from '../../platform/request/client-address.ts'
import { contextOf, type RequestContext } from '../../platform/request/request-context.ts'
import { durationText } from '../../platform/texts/durations.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { Language, Texts } from '../../platform/texts/texts.ts'
import type { CrossSite } from '../access/cross-site.ts'
import type { Principal } from '../access/principal.ts'
import type { RequireAuth } from '../access/require-auth.ts'
import { type Html, html } from './html.ts'
import { languageOf } from './language.ts'
import type { Layout, View } from './layout.ts'

/** One request for a page. */
export interface Page {
  request: FastifyRequest
  reply: FastifyReply
  context: RequestContext
  client: Client
  language: Language
  text: Language['text']
  /** The path of the pages, such as `/auth/ui`. */
  base: string
  /** The logged-in user. Null on pages for everyone, when nobody is logged in. */
  principal: Principal | null
  /** The parameters of the query. Of a repeated parameter, the first. */
  query: Fields
  form: FormState
}

export type Fields = { readonly [name: string]: string | undefined }

/** What a form shows again after a refusal. */
export interface FormState {
  typed: Fields
  errors: readonly FieldError[]
  /** Why the whole form was refused. */
  problem: Problem | null
}

/** The next page, as a path of this origin; or a page. */
export type Outcome = { to: string } | View

export interface PageDefinition {
  /** Below `{prefix}/ui`, such as `/login`. */
  path: string
  /** The label in logs and metrics, such as `ui.login`. */
  name: string
  /** Who may open the page. `user`: a logged-in user, who may still owe a password change or a second factor. */
  for: 'everyone' | 'user'
  show(page: Page): View | Outcome | Promise<View | Outcome>
  /** @param fields of the form; empty fields are missing. Throw a Problem to show the form again */
  submit?(page: Page, fields: Fields): Promise<Outcome>
}

export interface PageKit {
  define(app: FastifyInstance, page: PageDefinition): void
  /** Reads a request for a page that answers in its own way. */
  open(request: FastifyRequest, reply: FastifyReply): Promise<Page>
  answer(page: Page, outcome: Outcome): void
  /** For an error that no form shows. */
  send(request: FastifyRequest, reply: FastifyReply, view: View): void
}

/** Registers some pages. */
export type Pages = (app: FastifyInstance, kit: PageKit) => void

export interface PageKitDeps {
  /** The path of the pages, such as `/auth/ui`. */
  base: string
  layout: Layout
  texts: Texts
  crossSite: CrossSite
  requireAuth: RequireAuth
}

const NO_FIELDS: Fields = {}
const NO_FORM: FormState = { typed: NO_FIELDS, errors: [], problem: null }

/** The path of a page never leads elsewhere, and a page is never framed. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

/** Under `no-referrer` the forms of a page would send `Origin: null`. */
export const PAGE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': POLICY,
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-resource-policy': 'same-origin',
  vary: 'Cookie, Accept-Language',
}

export function createPageKit({ base, layout, texts, crossSite, requireAuth }: PageKitDeps): PageKit {
  function render(reply: FastifyReply, view: View, language: Language): void {
    reply
      .code(view.status ?? 200)
      .headers(PAGE_HEADERS)
      .type('text/html; charset=utf-8')
      .send(layout(view, language))
  }

  function answer(page: Page, outcome: Outcome): void {
    if ('to' in outcome) page.reply.headers(PAGE_HEADERS).redirect(outcome.to, 303)
    else render(page.reply, { isLoggedIn: page.principal !== null, ...outcome }, page.language)
  }

  async function open(request: FastifyRequest, reply: FastifyReply, who: PageDefinition['for']): Promise<Page> {
    const page = anonymous(request, reply)
    if (who === 'user') return { ...page, principal: await requireAuth(request, { allowIncomplete: true }) }
    return { ...page, principal: await requireAuth.optional(request).catch(nobody) }
  }

  function anonymous(request: FastifyRequest, reply: FastifyReply): Page {
    const context = contextOf(request.raw)
    context.via = 'page'
    const language = languageOf(request.headers, texts)
    const { text } = language
    const query = readQuery(request.url)
    return { request, reply, context, client: context.client, language, text, base, principal: null, query, form: NO_FORM }
  }

  /** @throws origin_untrusted, for a page of logged-in users. Pages for everyone show the form again, as for nobody */
  async function openForm(request: FastifyRequest, reply: FastifyReply, who: PageDefinition['for']) {
    const page = anonymous(request, reply)
    try {
      crossSite.requireTrustedOrigin(request.raw, page.client)
    } catch (error) {
      if (!(error instanceof Problem) || who === 'user') throw error
      return { page, refusal: error }
    }
    return { page: await open(request, reply, who), refusal: null }
  }

  async function showAgain(page: Page, typed: Fields, error: Problem, show: PageDefinition['show']): Promise<void> {
    page.context.error = error
    const outcome = await show({ ...page, form: { typed, errors: fieldErrorsOf(error), problem: error } })
    // there is no form to show again, and a redirect would hide the refusal
    if ('to' in outcome && error.code === 'origin_untrusted') throw error
    if (error.headers) page.reply.headers(withoutChallenge(error.headers))
    answer(page, 'to' in outcome ? outcome : { status: error.status, ...outcome })
  }

  return {
    open: (request, reply) => open(request, reply, 'everyone'),
    answer,
    define(app, { path, name, for: who, show, submit }) {
      const options = { config: { name, knowsUser: true } as object, schema: { hide: true } }
      app.get(path, options, async (request, reply) => {
        const page = await open(request, reply, who)
        answer(page, await show(page))
        return reply
      })
      if (!submit) return
      app.post(path, options, async (request, reply) => {
        const { page, refusal } = await openForm(request, reply, who)
        const typed = (request.body ?? NO_FIELDS) as Fields
        if (refusal) await showAgain(page, typed, refusal, show)
        else
          try {
            answer(page, await submit(page, typed))
          } catch (error) {
            if (!(error instanceof Problem)) throw error
            await showAgain(page, typed, error, show)
          }
        return reply
      })
    },
    send: (request, reply, view) => render(reply, view, languageOf(request.headers, texts)),
  }
}

/** The cookie of an ended session is no obstacle on a page for everyone. Without the database nobody can be read. */
function nobody(error: unknown): null {
  if (error instanceof Problem && (error.status === 401 || error.status === 403)) return null
  throw error
}

/** The fields of refusals that name their field by their code alone. */
const FIELDS_BY_CODE: Partial<Record<ErrorCode, FieldError>> = {
  username_taken: { field: 'username', code: 'taken', detail: 'is taken' },
  email_taken: { field: 'email', code: 'taken', detail: 'is taken' },
}

function fieldErrorsOf({ code, errors }: Problem): readonly FieldError[] {
  const named = FIELDS_BY_CODE[code]
  return errors ?? (named ? [named] : [])
}

/** A browser would ask for a password in a window of its own. */
export const withoutChallenge = ({ 'www-authenticate': _, ...headers }: Record<string, string>) => headers

/** @param target a path with its query */
function readQuery(target: string): Fields {
  const fields: Record<string, string> = Object.create(null)
  const mark = target.indexOf('?')
  if (mark >= 0) for (const [name, value] of new URLSearchParams(target.slice(mark + 1))) fields[name] ??= value
  return fields
}

/** The sentence of an error in the reader's language; without a text for its code, the sentence of the API. */
export function messageOf(
  { code, detail, headers }: Pick<Problem, 'code' | 'detail'> & { headers?: Problem['headers'] },
  language: Language,
): string {
  const waitSeconds = Number(headers?.['retry-after'])
  if (code === 'rate_limited' && waitSeconds > 0)
    return language.text('error.rate_limited-for', { wait: durationText(waitSeconds, language) })
  return language.find(`error.${code}`) ?? detail
}

/** The refusal of a field, in the reader's language. */
export const refusalOf = ({ code, detail }: FieldError, language: Pick<Language, 'find'>): string =>
  language.find(`refusal.${code}`) ?? detail

/**
 * Above a form: why it was refused. The errors of fields stand at the fields.
 * @param texts of this page, for codes that mean something special here
 */
export function formNotice({ form, language, text }: Page, texts: Partial<Record<ErrorCode, TextKey>> = {}): Html | null {
  if (form.problem === null) return null
  const special = texts[form.problem.code]
  const message = special ? text(special) : form.errors.length > 0 ? text('page.check-fields') : messageOf(form.problem, language)
  return html`<p class="notice bad" role="alert">${message}</p>`
}

/** Above a form: what was done before. */
export const notice = (message: string): Html => html`<p class="notice" role="status">${message}</p>`

/**
 * Reads the fields that a form must have. @param maxLengths by name, in UTF-16 code units
 * @throws validation_failed with every field that is missing or too long
 */
export function requireFields<Name extends string>(fields: Fields, maxLengths: Record<Name, number>): Record<Name, string> {
  const read = {} as Record<Name, string>
  const errors: FieldError[] = []
  for (const name of Object.keys(maxLengths) as Name[]) {
    const value = fields[name]
    if (value === undefined) errors.push({ field: name, code: 'required', detail: 'is required' })
    else if (value.length > maxLengths[name]) errors.push({ field: name, code: 'too_long', detail: 'is too long' })
    else read[name] = value
  }
  if (errors.length > 0) throw problem('validation_failed', { errors })
  return read
}

/** The longest values of common fields, as the JSON API has them. */
export const LENGTHS = { login: 254, email: 254, username: 64, password: 4096, code: 32, token: 512 } as const

export interface FieldOptions {
  name: string
  /** Default: the name. For pages with several forms. */
  id?: string
  label: TextKey
  type?: 'text' | 'email' | 'password' | 'url' | 'number' | 'date'
  /** For browsers and password managers (HTML, autofill). */
  autocomplete: string
  hint?: string
  isOptional?: boolean
  /** Default: what was typed. Passwords are never shown again. */
  value?: string
  inputmode?: 'numeric' | 'email' | 'text'
  maxLength?: number
  /** The reader begins here. At most one field of a page. */
  isFocused?: boolean
  /** Why the field was refused: a whole sentence. Default: from the errors of the form. */
  error?: string | undefined
}

/** A labelled field, with its hint and its error. */
export function field(page: Page, options: FieldOptions): Html {
  const { name, id = name, label, type = 'text', autocomplete, hint, isOptional = false, inputmode, maxLength, isFocused = false } = options
  const error = options.error ?? refusalAt(page, name, label)
  const value = type === 'password' ? undefined : (page.form.typed[name] ?? options.value)
  const described = [hint !== undefined && `${id}-hint`, error !== null && `${id}-error`].filter(Boolean).join(' ')
  return html`<label for="${id}">${page.text(label)}</label>
${hint !== undefined && html`<p class="hint" id="${id}-hint">${hint}</p>`}
<input id="${id}" name="${name}" type="${type}" autocomplete="${autocomplete}"${value !== undefined && html` value="${value}"`}${
    inputmode && html` inputmode="${inputmode}"`
  }${maxLength !== undefined && html` maxlength="${maxLength}"`}${!isOptional && html` required`}${
    described !== '' && html` aria-describedby="${described}"`
  }${error !== null && html` aria-invalid="true"`}${isFocused && html` autofocus`} autocapitalize="none" spellcheck="false">
${error !== null && html`<p class="error" id="${id}-error">${error}</p>`}`
}

/** The sentence about the field, whose subject is its label. */
function refusalAt({ form, text, language }: Page, name: string, label: TextKey): string | null {
  const error = form.errors.find((e) => e.field === name || e.field.startsWith(`${name}.`))
  return error ? `${text(label)} ${refusalOf(error, language)}.` : null
}

/** A box that shows what was typed into password fields. Hidden without JavaScript. @param ids of the fields */
export const showPassword = (page: Page, ...ids: string[]): Html =>
  html`<label class="check" hidden><input type="checkbox" data-shows="${ids.join(' ')}"> ${page.text('page.show-password')}</label>`

/** Reads the body of a form. @throws validation_failed when a field is repeated or is not UTF-8 */
export function readFields(text: string): Fields {
  const fields: Record<string, string> = Object.create(null)
  for (const [name, value] of new URLSearchParams(text)) {
    if (Object.hasOwn(fields, name)) throw problem('validation_failed', { cause: `the field ${name} is repeated` })
    if (value !== '') fields[name] = value
  }
  return fields
}
