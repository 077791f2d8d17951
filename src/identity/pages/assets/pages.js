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

for (const form of document.forms)
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault()
    form.dataset.sent = 'yes'
  })

document.querySelector('[aria-invalid=true], [data-focus]')?.focus()
