/** The form of a passkey: hidden until a script has found that the browser knows passkeys. */
import { problem } from '../../platform/lib/errors.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { CrossSite } from '../access/cross-site.ts'
import type { RelyingParty } from '../factors/passkey-ceremonies.ts'
import { type Html, html, type Part } from './html.ts'
import type { Fields, Page } from './page-kit.ts'

/** A ceremony that has begun. */
interface Begun {
  flow_token: string
  options: object
}

export interface PasskeyFormOptions {
  submit: TextKey
  /** A new passkey is made. Default: a passkey signs. */
  isNew?: boolean
  /** The page is for this form above all. */
  isMain?: boolean
  /** The browser offers passkeys at the field whose `autocomplete` ends with `webauthn`. */
  isAutofilled?: boolean
  /** The endpoint that gives new options, before these have expired. */
  renewUrl?: string
  /** Further fields. */
  fields?: Part
}

export interface PasskeyForms {
  /** False on a host that the configuration does not name: no browser would use the passkeys there. */
  isOffered(page: Page): boolean
  /** Once on a page. */
  script: Html
  /** With the script. */
  form(page: Page, begun: Begun, options: PasskeyFormOptions): Html
}

export interface PasskeyFormsDeps {
  relyingParty: Pick<RelyingParty, 'origins'>
  crossSite: Pick<CrossSite, 'ownOrigin'>
  scriptPath: string
}

export function createPasskeyForms({ relyingParty, crossSite, scriptPath }: PasskeyFormsDeps): PasskeyForms {
  const script = html`<script src="${scriptPath}" defer></script>`
  return {
    script,
    isOffered({ request, client }) {
      const origin = crossSite.ownOrigin(request.raw, client)
      return origin !== null && relyingParty.origins.includes(origin)
    },
    form({ text }, { flow_token, options }, { submit, isNew = false, isMain = isNew, isAutofilled = false, renewUrl, fields }) {
      return html`<form method="post" hidden data-passkey="${JSON.stringify(options)}" data-kind="${isNew ? 'create' : 'get'}" data-failed="${text('passkey.failed')}"${
        isNew && html` data-exists="${text('passkey.exists')}"`
      }${isAutofilled && html` data-autofill`}${renewUrl !== undefined && html` data-renew="${renewUrl}"`}>
<p class="notice bad" role="alert" hidden></p>
<input type="hidden" name="flow_token" value="${flow_token}">
<input type="hidden" name="credential">
${fields}
<button${!isMain && html` class="quiet"`}>${text(submit)}</button>
</form>
${script}`
    },
  }
}

const MAX_ANSWER = 65_536

/** The answer of the browser, in the field of the form. @throws passkey_refused */
export function answerIn<C>(
  { flow_token, credential }: Fields,
  read: (credential: unknown) => C | null,
): { flow_token: string; credential: C } {
  const answer = credential !== undefined && credential.length <= MAX_ANSWER ? read(parse(credential)) : null
  if (answer === null || flow_token === undefined) throw problem('passkey_refused', { cause: 'the form has no answer of a browser' })
  return { flow_token, credential: answer }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
