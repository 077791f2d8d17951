/** The users: search, filters, and pages by cursor. */
import { html } from '../../identity/pages/html.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

const PAGE_SIZE = 50

export const usersSection = ({ base, administration }: ConsoleParts): ConsoleSection => ({
  path: '/users',
  text: 'console.users',
  pages(app, kit) {
    kit.define(app, {
      path: '/users',
      name: 'console.users',
      for: 'user',
      async show({ text, query }) {
        const { users, nextCursor } = await administration.list({ search: query.search }, PAGE_SIZE, query.cursor)
        return {
          title: text('console.users'),
          body: html`<div class="scroll"><table><thead><tr><th>${text('field.email')}</th></tr></thead><tbody>${users.map(
            ({ id, email }) => html`<tr><td><a href="${base}/users/${id}">${email}</a></td></tr>`,
          )}</tbody></table></div>${nextCursor !== null && html`<p><a href="${base}/users?cursor=${nextCursor}">${text('console.next')}</a></p>`}`,
        }
      },
    })
  },
})
