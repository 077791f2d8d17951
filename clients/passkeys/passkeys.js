// Passkeys in an app of your own. For browsers, without a library.

/** @param auth such as `https://api.example.com/auth` */
export function createPasskeys(auth) {
  async function send(method, path, token, body) {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const answer = await fetch(auth + path, { method, headers, ...(body && { body: JSON.stringify(body) }) })
    const result = answer.status === 204 ? null : await answer.json()
    if (!answer.ok) throw Object.assign(new Error(result.detail), result)
    return result
  }

  /** @param step `{ mfa_token }` in the second step of a login. @param mediation `conditional` for the autofill of a login form */
  async function sign(step, token, mediation) {
    const { flow_token, options } = await send('POST', '/passkeys/login/options', token, step)
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options)
    const credential = await navigator.credentials.get({ publicKey, ...(mediation && { mediation }) })
    return send('POST', '/passkeys/login/verify', token, { ...step, flow_token, credential: credential.toJSON() })
  }

  const list = (token) => send('GET', '/passkeys', token)

  return {
    list,
    /** @returns user and tokens */
    login: (mediation) => sign({}, undefined, mediation),
    /** After `/login` has answered `mfa_required`. @returns user and tokens */
    loginMfa: (mfa_token) => sign({ mfa_token }),
    /** For an action that needs a recent login. @returns user and tokens of a new session, which replaces the present one */
    reauthenticate: (token) => sign({}, token),
    /** @param proof `{ current_password }` or `{ code }` after an old login. @returns the passkey, and backup codes with the first factor */
    async add(token, name, proof = {}) {
      const { flow_token, options } = await send('POST', '/passkeys/register/options', token, proof)
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options)
      const credential = await navigator.credentials.create({ publicKey })
      return send('POST', '/passkeys/register/verify', token, { flow_token, credential: credential.toJSON(), name })
    },
    /** Refresh the access token afterwards: the old one is refused. @param refresh gives the new access token */
    async remove(token, id, refresh) {
      await send('DELETE', `/passkeys/${id}`, token, {})
      const { rp_id, user_handle, passkeys } = await list(await refresh())
      // the passkey manager forgets what is not in the list
      const allAcceptedCredentialIds = passkeys.map(({ credential_id }) => credential_id)
      await PublicKeyCredential.signalAllAcceptedCredentials?.({ rpId: rp_id, userId: user_handle, allAcceptedCredentialIds })
    },
  }
}
