/** For a forgotten password: asks for a link by mail. The answer is the same for every address. */
import type { FastifyInstance } from 'fastify'
import type { createRecovery } from '../accounts/recovery.service.ts'
import { html } from './html.ts'
import { field, formNotice, LENGTHS, type PageKit, requireFields } from './page-kit.ts'
import { type ProofForms, proofOf } from './proof-of-work.ts'

export interface ForgotPagesDeps extends Pick<ReturnType<typeof createRecovery>, 'forgot'> {
  proofForms: ProofForms
}

export const forgotPages =
  ({ forgot, proofForms }: ForgotPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void =>
    kit.define(app, {
      path: '/forgot',
      name: 'ui.forgot',
      for: 'everyone',
      async show(page) {
        const { text, base, query } = page
        if (query.sent !== undefined)
          return {
            title: text('page.look-into-mail'),
            body: html`<p>${text('forgot.sent')}</p>
<p class="hint">${text('page.no-mail')}</p>
<p class="links"><a href="${base}/forgot">${text('forgot.again')}</a> <a href="${base}/login">${text('page.to-login')}</a></p>`,
          }
        const proof = await proofForms.of(page, 'forgot')
        return {
          title: text('forgot.title'),
          body: html`${formNotice(page)}
<p>${text('forgot.lead')}</p>
<form method="post"${proof?.attributes}>
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: 'email', maxLength: LENGTHS.email })}
${proof?.fields}
<button>${text('forgot.submit')}</button>
</form>
<p class="links"><a href="${base}/login">${text('page.to-login')}</a></p>`,
        }
      },
      async submit({ context, base }, fields) {
        await forgot({ ...requireFields(fields, { email: LENGTHS.email }), ...proofOf(fields) }, context)
        return { to: `${base}/forgot?sent=1` }
      },
    })
