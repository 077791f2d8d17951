// Makes the pages better. Every page works without this file.

// a page from the back-forward cache may show what only a logged-in user may see
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload()
})

// the token of a mailed link stands in the fragment: out of the address bar with it, and on to the next step
const tokenForm = document.querySelector('form[data-takes-token]')
if (tokenForm && new URLSearchParams(location.hash.slice(1)).has('token')) {
  tokenForm.elements.link.value = location.hash
  history.replaceState(null, '', location.pathname)
  tokenForm.action = location.pathname
  tokenForm.requestSubmit()
}

for (const box of document.querySelectorAll('[data-shows]')) {
  box.closest('[hidden]')?.removeAttribute('hidden')
  box.addEventListener('change', () => {
    for (const id of box.dataset.shows.split(' ')) document.getElementById(id).type = box.checked ? 'text' : 'password'
  })
}

// times of the account in the time zone of the reader, and in the form of the reader's country; the console keeps UTC
const { lang } = document.documentElement
const locale = navigator.languages.find((known) => known.split('-')[0] === lang) ?? lang
for (const time of document.querySelectorAll('body:not(.console) time[datetime]'))
  time.textContent = new Date(time.dateTime).toLocaleString(locale, { dateStyle: 'medium', timeStyle: 'short' })

// without a secure context there is no clipboard
for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) break
  button.hidden = false
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).innerText)
    button.textContent = button.dataset.done
  })
}

for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false
  button.addEventListener('click', () => print())
}

for (const form of document.forms)
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault()
    form.dataset.sent = 'yes'
    // the user may have stopped the browser
    setTimeout(() => delete form.dataset.sent, 5000)
  })

document.querySelector('[aria-invalid=true], [data-focus]')?.focus()
