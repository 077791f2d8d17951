// Makes the pages better. Every page works without this file, or says what the reader can do.

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

// a form with a proof of work: it is computed from the first key on, and the form waits for it
for (const form of document.querySelectorAll('form[data-challenge]')) {
  const { challenge, solver, checking } = form.dataset
  const field = form.elements.proof_of_work
  // shorter than the five minutes of a challenge, since a form takes its time to arrive
  const lifeMs = 240_000
  let begun = null
  const show = (what) => {
    for (const note of form.querySelectorAll('[data-proof]')) note.hidden = note.dataset.proof !== what
  }
  const solved = () => {
    if (!begun || performance.now() - begun.at > lifeMs)
      begun = { at: performance.now(), solution: import(solver).then(({ solve }) => solve(challenge)) }
    begun.solution.catch(() => {
      begun = null
    })
    return begun.solution
  }
  // without a secure context a browser has no WebCrypto
  if (!globalThis.crypto?.subtle) show('insecure')
  else form.addEventListener('input', () => void solved().catch(() => {}))

  form.addEventListener('submit', async (event) => {
    if (field.value !== '') return
    event.preventDefault()
    event.stopImmediatePropagation()
    const button = form.querySelector('button:not([type=button])')
    if (button.disabled || !globalThis.crypto?.subtle) return
    const label = button.textContent
    button.disabled = true
    button.textContent = checking
    show(null)
    try {
      field.value = await solved()
      // a solution that was ready comes before the event has ended, and a form is not sent again within its event
      await new Promise((resolve) => setTimeout(resolve))
    } catch {
      show('failed')
    } finally {
      button.disabled = false
      button.textContent = label
    }
    if (field.value === '') return
    form.requestSubmit(event.submitter)
    // a solution counts once; the user may stop the browser and send the form again
    field.value = ''
    begun = null
  })
}

for (const form of document.forms)
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault()
    form.dataset.sent = 'yes'
    // the user may have stopped the browser
    setTimeout(() => delete form.dataset.sent, 5000)
  })

document.querySelector('[aria-invalid=true], [data-focus]')?.focus()
