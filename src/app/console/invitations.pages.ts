/** The open invitations, the form for a new one, and the pages that ask before an invitation is sent again or withdrawn. */
import type { FastifyInstance } from 'fastify'
import { actorOf } from '../../identity/admin/users.routes.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import { field, formNotice, type Page, type PageKit } from '../../identity/pages/page-kit.ts'
import { knownRoles } from '../../identity/users/roles.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import { badge, confirmation, doneNotice, link, table, when } from './elements.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const invitationsSection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/invitations',
  text: 'console.invitations',
  pages(app, kit) {
    defineList(app, kit, parts)
    defineNew(app, kit, parts)
    defineChange(app, kit, parts, 'resend')
    defineChange(app, kit, parts, 'withdraw')
  },
})

const DONE: { readonly [done: string]: TextKey } = {
  create: 'console.invitation.create-done',
  resend: 'console.invitation.resend-done',
  withdraw: 'console.invitation.withdraw-done',
}

function defineList(app: FastifyInstance, kit: PageKit, { base, administration, clock }: ConsoleParts): void {
  const path = `${base}/invitations`
  kit.define(app, {
    path: '/invitations',
    name: 'console.invitations',
    for: 'user',
    async show(page) {
      const { text, language } = page
      const open = await administration.invitations()
      const action = (id: string, email: string, name: 'resend' | 'withdraw') =>
        html`<a href="${path}/${id}/${name}">${text(`console.invitation.${name}`)}<span class="hidden"> ${email}</span></a> `
      return {
        title: text('console.invitations'),
        body: html`${doneNotice(page, DONE)}<p class="actions"><a class="button" href="${path}/new">${text('console.invitations-new')}</a></p>
${
  open.length === 0
    ? html`<p class="none">${text('console.invitations-none')}</p>`
    : table(
        text('console.invitations'),
        [text('field.email'), text('console.roles'), text('console.created'), text('account.keys.until'), text('console.action')],
        open.map(({ id, email, roles, created_at, expires_at }) => [
          email,
          roles.map((role) => html`${badge(role)} `),
          when(created_at, language),
          html`${when(expires_at, language)}${expires_at.getTime() <= clock.now() && html` ${badge(text('account.keys.expired'), 'bad')}`}`,
          html`${action(id, email, 'resend')}${action(id, email, 'withdraw')}`,
        ]),
      )
}`,
      }
    },
  })
}

function defineNew(app: FastifyInstance, kit: PageKit, { base, administration, config }: ConsoleParts): void {
  kit.define(app, {
    path: '/invitations/new',
    name: 'console.invitations.new',
    for: 'user',
    show(page) {
      const { text, form, principal } = page
      // an inviter gives no more than what the inviter has
      const roles = knownRoles(config.auth.roles).filter((role) => principal!.roles.has(role))
      const isChosen = (role: string) => (form.problem ? form.typed[`role:${role}`] === 'on' : role === 'user')
      return {
        title: text('console.invitations-new'),
        body: html`${formNotice(page)}<p class="lead">${text('console.invitations-what')}</p>
<form method="post" class="narrow">
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: 'off' })}
<fieldset><legend>${text('console.roles')}</legend>${roles.map(
          (role): Html =>
            html`<label class="check"><input type="checkbox" name="role:${role}"${isChosen(role) && html` checked`}> ${role}</label>`,
        )}</fieldset>
<p class="actions"><button>${text('console.invitation.create')}</button> <a class="button quiet" href="${base}/invitations">${text('console.cancel')}</a></p>
</form>`,
      }
    },
    async submit({ request }, { email = '', ...more }) {
      const roles = knownRoles(config.auth.roles).filter((role) => more[`role:${role}`] === 'on')
      await administration.invite({ email, roles }, actorOf(request))
      return { to: link(`${base}/invitations`, { done: 'create' }) }
    },
  })
}

function defineChange(app: FastifyInstance, kit: PageKit, { base, administration }: ConsoleParts, name: 'resend' | 'withdraw'): void {
  const idOf = ({ request }: Page) => (request.params as { id: string }).id
  const isDanger = name === 'withdraw'
  kit.define(app, {
    path: `/invitations/:id/${name}`,
    name: `console.invitations.${name}`,
    for: 'user',
    async show(page) {
      const { text } = page
      const invitation = (await administration.invitations()).find(({ id }) => id === idOf(page))
      if (!invitation) throw problem('not_found')
      return {
        title: text(`console.invitation.${name}-title`, { email: invitation.email }),
        body: confirmation(page, {
          what: html`<p>${text(`console.invitation.${name}-what`)}</p>`,
          submit: text(`console.invitation.${name}`),
          isDanger,
          cancel: `${base}/invitations`,
        }),
      }
    },
    async submit(page) {
      const act = isDanger ? administration.withdrawInvitation : administration.resendInvitation
      await act(idOf(page), actorOf(page.request))
      return { to: link(`${base}/invitations`, { done: name }) }
    },
  })
}
