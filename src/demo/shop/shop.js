/** The shop of the demo. The library keeps the session; this page shows what the user may do. */
import { createClient } from '/shop/assets/portcullis-client.js'

const client = createClient()
const byId = (id) => document.getElementById(id)

/** An element with a text, properties and children. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

const say = (text) => {
  byId('message').textContent = text
}

/** JSON of the shop's API. A refusal is shown, and gives null. */
async function shop(path, body) {
  const init = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await client.fetch(`/shop${path}`, init)
  const answer = await response.json()
  if (response.ok) return answer
  say(answer.detail ?? answer.error)
  return null
}

const statusOf = ({ status }) => element('td', {}, element('span', { className: `status ${status}`, textContent: status }))

function rowsOf(orders, columns, extra) {
  if (orders.length === 0) return [element('tr', {}, element('td', { colSpan: columns, className: 'empty', textContent: 'None yet.' }))]
  const cells = (order) => [order.id, order.item].map((text) => element('td', { textContent: text }))
  return orders.map((order) => element('tr', {}, ...cells(order), statusOf(order), ...extra(order)))
}

async function showOrders(user) {
  const orders = await shop('/orders')
  byId('orders').replaceChildren(...rowsOf(orders ?? [], 3, () => []))
  if (!user.roles.includes('admin')) return
  const all = await shop('/admin/orders')
  const ship = (order) => async () => {
    await shop(`/admin/orders/${order.id}/ship`, {})
    say(`Order ${order.id} is on its way.`)
  }
  const action = (order) =>
    element('td', {}, order.status === 'open' ? element('button', { textContent: `Ship order ${order.id}`, onclick: ship(order) }) : '–')
  byId('all-orders').replaceChildren(...rowsOf(all ?? [], 4, (order) => [action(order)]))
}

async function showCatalog(user) {
  const order = (item) => async () => {
    const placed = await shop('/orders', { item })
    if (placed) say(`Order ${placed.id} is placed: ${placed.item}.`)
  }
  const action = (item) =>
    user
      ? element('button', { textContent: `Order ${item}`, onclick: order(item) })
      : element('a', { className: 'button', href: client.loginUrl('/shop/'), textContent: 'Log in to order' })
  const card = ({ item, price }) =>
    element(
      'li',
      {},
      element('strong', { textContent: item }),
      element('span', { className: 'price', textContent: `${price} gold` }),
      action(item),
    )
  byId('catalog').replaceChildren(...((await shop('/catalog')) ?? []).map(card))
}

function showAccount(user) {
  const link = (href, textContent, className = '') => element('a', { href, textContent, className })
  const out = element('button', { className: 'plain', textContent: 'Log out', onclick: () => client.logout() })
  byId('account').replaceChildren(
    ...(user
      ? [link('/auth/ui/account', user.username), out]
      : [link('/auth/ui/register?return_to=/shop/', 'Register'), link(client.loginUrl('/shop/'), 'Log in', 'button')]),
  )
  for (const part of document.querySelectorAll('[data-for]'))
    part.hidden = !(part.dataset.for === 'user' ? user : user?.roles.includes('admin'))
}

/** The newest lines, the latest last. */
function add(list, text) {
  list.append(element('li', { textContent: text }))
  if (list.children.length > 6) list.firstChild.remove()
}

function follow(user) {
  const feed = new EventSource('/shop/feed')
  feed.addEventListener('order', ({ data }) => {
    const { id, item, status } = JSON.parse(data)
    add(byId('feed'), `Order ${id}, ${item}: ${status}`)
    void showOrders(user)
  })
  // the stream ends with the session: the library finds out, and says so
  feed.addEventListener('error', () => client.session().catch(() => {}))
}

async function chat() {
  const socket = await client.webSocket('/shop/chat')
  socket.addEventListener('message', ({ data }) => add(byId('chat'), data))
  socket.addEventListener('close', () => add(byId('chat'), 'The chat has ended. Load the page again.'))
  byId('say').addEventListener('submit', (event) => {
    event.preventDefault()
    socket.send(byId('text').value)
    event.target.reset()
  })
}

const session = await client.session()
const user = session?.user
client.addEventListener('loggedout', () => location.reload())
client.addEventListener('loggedin', () => user ?? location.reload())
showAccount(user)
await showCatalog(user)
if (user) {
  follow(user)
  await Promise.all([showOrders(user), chat()])
}
document.body.dataset.state = user ? 'user' : 'anonymous'
