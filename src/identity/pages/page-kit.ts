/**
 * What all pages share: language, headers, forms and their errors. A page is rendered here and works without JavaScript. A form calls the
 * same service as the JSON API. When the service refuses, the page comes back with the reason at its field and with what was typed.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, type FieldError, Problem, problem } from '../../platform/lib/errors.ts'
import type { Client } from '../../platform/request/client-address.ts'
import { contextOf, type RequestContext } from '../../platform/request/request-context.ts'
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
  /** For an error that no form shows. */
  send(request: FastifyRequest, reply: FastifyReply, view: View): void
}

/** Registers some pages. */
export type Pages = (app: FastifyInstance, kit: PageKit) => void

export interface PageKitDeps {
  layout: Layout
  texts: Texts
  crossSite: CrossSite
  requireAuth: RequireAuth
}

const NO_FORM: FormState = { typed: {}, errors: [], problem: null }

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

export function createPageKit({ layout, texts, crossSite, requireAuth }: PageKitDeps): PageKit {
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
    const context = contextOf(request.raw)
    const language = languageOf(request.headers, texts)
    const principal = who === 'user' ? await requireAuth(request, { allowIncomplete: true }) : await requireAuth.optional(request)
    const query = readQuery(request.url)
    return { request, reply, context, client: context.client, language, text: language.text, principal, query, form: NO_FORM }
  }

  return {
    define(app, { path, name, for: who, show, submit }) {
      const options = { config: { name } as object, schema: { hide: true } }
      app.get(path, options, async (request, reply) => {
        const page = await open(request, reply, who)
        answer(page, await show(page))
        return reply
      })
      if (!submit) return
      app.post(path, options, async (request, reply) => {
        const page = await open(request, reply, who)
        const typed = request.body as Fields
        try {
          crossSite.requireTrustedOrigin(request.raw, page.client)
          answer(page, await submit(page, typed))
        } catch (error) {
          if (!(error instanceof Problem)) throw error
          page.context.error = error
          const form = { typed, errors: error.errors ?? [], problem: error }
          const outcome = await show({ ...page, form })
          if (error.headers) reply.headers(withoutChallenge(error.headers))
          answer(page, 'to' in outcome ? outcome : { status: error.status, ...outcome })
        }
        return reply
      })
    },
    send: (request, reply, view) => render(reply, view, languageOf(request.headers, texts)),
  }
}

/** A browser would ask for a password in a window of its own. */
const withoutChallenge = ({ 'www-authenticate': _, ...headers }: Record<string, string>) => headers

/** @param target a path with its query */
function readQuery(target: string): Fields {
  const fields: Record<string, string> = Object.create(null)
  const mark = target.indexOf('?')
  if (mark >= 0) for (const [name, value] of new URLSearchParams(target.slice(mark + 1))) fields[name] ??= value
  return fields
}

/** The sentence of an error in the reader's language; without a text for its code, the sentence of the API. */
export const messageOf = ({ code, detail }: { code: ErrorCode; detail: string }, language: Language): string =>
  language.find(`error.${code}`) ?? detail

const refusalOf = ({ code, detail }: FieldError, language: Language): string => language.find(`refusal.${code}`) ?? detail

/** Above a form: why it was refused. The errors of fields stand at the fields. */
export function formNotice({ form, language }: Page): Html | null {
  if (form.problem === null || form.errors.length > 0) return null
  return html`<p class="notice bad" role="alert">${messageOf(form.problem, language)}</p>`
}

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
  /** Why the field was refused: a whole sentence. Default: from the errors of the form. */
  error?: string | undefined
}

/** A labelled field, with its hint and its error. */
export function field(page: Page, options: FieldOptions): Html {
  const { name, id = name, label, type = 'text', autocomplete, hint, isOptional = false, inputmode, maxLength } = options
  const error = options.error ?? refusalAt(page, name, label)
  const value = type === 'password' ? undefined : (page.form.typed[name] ?? options.value)
  const described = [hint !== undefined && `${id}-hint`, error !== null && `${id}-error`].filter(Boolean).join(' ')
  return html`<label for="${id}">${page.text(label)}</label>
${hint !== undefined && html`<p class="hint" id="${id}-hint">${hint}</p>`}
<input id="${id}" name="${name}" type="${type}" autocomplete="${autocomplete}"${value !== undefined && html` value="${value}"`}${
    inputmode && html` inputmode="${inputmode}"`
  }${maxLength !== undefined && html` maxlength="${maxLength}"`}${!isOptional && html` required`}${
    described !== '' && html` aria-describedby="${described}"`
  }${error !== null && html` aria-invalid="true"`} autocapitalize="none" spellcheck="false">
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
