// Passkeys. What a ceremony needs stands in its form, and its answer goes back in the same form.
const { browserSupportsWebAuthn, browserSupportsWebAuthnAutofill, sendSignal, startAuthentication, startRegistration } =
  SimpleWebAuthnBrowser

// a challenge lives for five minutes
const RENEW_MS = 240_000

function fill(form, answer) {
  form.elements.credential.value = JSON.stringify(answer)
  // the choice to stay logged in stands in the form for the password
  const remember = document.querySelector('input[type=checkbox][name=remember]')
  if (form.elements.remember && remember?.checked) form.elements.remember.value = 'yes'
  form.requestSubmit()
}

function report(form, error) {
  const notice = form.querySelector('[role=alert]')
  const { exists, failed } = form.dataset
  notice.textContent = error.name === 'InvalidStateError' && exists ? exists : failed
  notice.hidden = false
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  if (!browserSupportsWebAuthn()) {
    document.querySelector('[data-no-passkeys]')?.removeAttribute('hidden')
    continue
  }
  let options = JSON.parse(form.dataset.passkey)
  const isNew = form.dataset.kind === 'create'
  form.hidden = false

  async function run() {
    try {
      fill(form, isNew ? await startRegistration({ optionsJSON: options }) : await startAuthentication({ optionsJSON: options }))
    } catch (error) {
      report(form, error)
      void suggest()
    }
  }

  // the browser offers passkeys at the field of the name
  async function suggest() {
    if (form.dataset.autofill === undefined || !(await browserSupportsWebAuthnAutofill())) return
    // a further request ends this one with an error
    startAuthentication({ optionsJSON: options, useBrowserAutofill: true }).then(
      (answer) => fill(form, answer),
      () => {},
    )
  }

  form.querySelector('button').addEventListener('click', (event) => {
    event.preventDefault()
    void run()
  })
  void suggest()

  if (form.dataset.renew !== undefined)
    setInterval(async () => {
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(form.dataset.renew, { method: 'POST', headers, body: '{}' }).catch(() => null)
      if (!answer?.ok) return
      const renewed = await answer.json()
      options = renewed.options
      form.elements.flow_token.value = renewed.flow_token
      void suggest()
    }, RENEW_MS)
}

// a passkey manager forgets passkeys that were removed here
const accepted = document.querySelector('[data-accepted]')
if (accepted) sendSignal({ signalName: 'allAcceptedCredentials', ...JSON.parse(accepted.dataset.accepted) }).catch(() => {})
