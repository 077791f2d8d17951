/**
 * The part of a form that needs a proof of work. pages.js asks for a challenge when the reader begins to type, and sends the form with the
 * solution. Without JavaScript the form says what else the reader can do.
 */
import type { Config } from '../../platform/config/schema.ts'
import type { Action, ProofOfWork } from '../credentials/proof-of-work.ts'
import type { Providers } from '../providers/providers.ts'
import { type Html, html } from './html.ts'
import type { Fields, Page } from './page-kit.ts'

export interface ProofForm {
  /** For the tag of the form. */
  attributes: Html
  /** Inside of the form, before its button. */
  fields: Html
}

export interface ProofForms {
  /** @returns null when this client needs no proof of work for the action */
  of(page: Page, action: Action): Promise<ProofForm | null>
}

export interface ProofFormsDeps {
  proofOfWork: Pick<ProofOfWork, 'isNeeded'>
  /** The path of the module that solves, below `page.base`. */
  solverPath: string
  providers: Pick<Providers, 'list'>
  auth: Pick<Config['auth'], 'prefix' | 'browser' | 'proofOfWork'>
}

/** What a form sent of it, for a service. */
export const proofOf = ({ proof_of_work }: Fields) => (proof_of_work === undefined ? {} : { proof_of_work })

export const createProofForms = ({ proofOfWork, solverPath, providers, auth }: ProofFormsDeps): ProofForms => ({
  async of(page, action) {
    if (!(await proofOfWork.isNeeded(action, page.client))) return null
    const { text, base } = page
    return {
      attributes: html` data-challenge="${auth.prefix}/challenge?for=${action}" data-solver="${base}/${solverPath}" data-checking="${text('proof.checking')}"`,
      fields: html`<input type="hidden" name="proof_of_work">
<p class="notice bad" role="alert" data-proof="failed" hidden>${text('proof.failed')}</p>
<p class="notice bad" role="alert" data-proof="insecure" hidden>${text('proof.insecure')}</p>
<noscript><div class="notice bad"><p>${text('proof.no-script')}</p>
<ul>
<li>${text('proof.turn-on')}</li>
${action === 'login' && auth.proofOfWork.loginFailures > 0 && html`<li>${text('proof.wait')}</li>`}
${providers.list.length > 0 && html`<li><a href="${base}/login">${text('proof.provider')}</a></li>`}
${auth.browser.brand.supportUrl !== undefined && html`<li><a href="${auth.browser.brand.supportUrl}">${text('proof.support')}</a></li>`}
</ul></div></noscript>`,
    }
  },
})
