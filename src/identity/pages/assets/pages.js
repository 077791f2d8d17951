// Makes the pages better. Every page works without this file.

// a page from the back-forward cache may show what only a logged-in user may see
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload()
})

for (const box of document.querySelectorAll('[data-shows]')) {
  box.closest('[hidden]')?.removeAttribute('hidden')
  box.addEventListener('change', () => {
    for (const id of box.dataset.shows.split(' ')) document.getElementById(id).type = box.checked ? 'text' : 'password'
  })
}

for (const time of document.querySelectorAll('time[datetime]'))
  time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: 'medium', timeStyle: 'short' })

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
  })

document.querySelector('[aria-invalid=true], [data-focus]')?.focus()
