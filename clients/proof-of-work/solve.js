// Sends a request that may need a proof of work. For browsers and Node, with the package altcha-lib.
import { solveChallenge } from 'altcha-lib'
import { deriveKey } from 'altcha-lib/algorithms/web/pbkdf2'

/** @param auth such as `https://api.example.com/auth`. @param action `register`, `forgot`, `email_login` or `login` */
export async function solve(auth, action) {
  const challenge = await (await fetch(`${auth}/challenge?for=${action}`)).json()
  const solution = await solveChallenge({ challenge, deriveKey, timeout: 240_000 })
  return btoa(JSON.stringify({ challenge, solution }))
}

/** @param path such as `/login`. @returns the answer, after a proof of work where the gateway asks for one */
export async function send(auth, path, action, body) {
  const post = (fields) =>
    fetch(auth + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...body, ...fields }) })
  const answer = await post({})
  if (answer.status !== 403 || (await answer.clone().json()).code !== 'proof_of_work_required') return answer
  return post({ proof_of_work: await solve(auth, action) })
}
