/** The test vectors of WebAuthn L3 §16: what the ceremonies accept, and what they refuse by the rules of this gateway. */
import { readFileSync } from 'node:fs'
import { verifyRegistrationResponse } from '@simplewebauthn/server'
import { describe, expect, it } from 'vitest'
import { createCeremonies } from '../../../src/identity/factors/passkey-ceremonies.ts'
import type { Passkey } from '../../../src/identity/factors/passkeys.repo.ts'
import { systemClock } from '../../../src/platform/lib/clock.ts'
import type { Secrets } from '../../../src/platform/vault/secrets.ts'

interface Vector {
  name: string
  anchor: string
  credentialId: string
  registration: { challenge: string; clientDataJSON: string; attestationObject: string }
  authentication: { challenge: string; clientDataJSON: string; authenticatorData: string; signature: string }
}

const vectors: Vector[] = JSON.parse(readFileSync(new URL('webauthn-vectors.json', import.meta.url), 'utf8'))
const base64url = (hex: string) => Buffer.from(hex, 'hex').toString('base64url')
const ORIGIN = 'https://example.org'

/** Ceremonies whose challenge is that of the vector. */
const ceremoniesFor = (challenge: string) =>
  createCeremonies({
    relyingParty: { id: 'example.org', name: 'Example', origins: [ORIGIN] },
    secrets: { deriveAll: () => [Buffer.from(challenge, 'hex')] } as Partial<Secrets> as Secrets,
    clock: systemClock,
  })
const flow_token = `9999999999.${'A'.repeat(43)}`

const registrationOf = ({ credentialId, registration }: Vector) => ({
  id: base64url(credentialId),
  rawId: base64url(credentialId),
  type: 'public-key' as const,
  response: { clientDataJSON: base64url(registration.clientDataJSON), attestationObject: base64url(registration.attestationObject) },
  clientExtensionResults: {},
})

const assertionOf = ({ credentialId, authentication }: Vector) => ({
  id: base64url(credentialId),
  rawId: base64url(credentialId),
  type: 'public-key' as const,
  response: {
    clientDataJSON: base64url(authentication.clientDataJSON),
    authenticatorData: base64url(authentication.authenticatorData),
    signature: base64url(authentication.signature),
  },
  clientExtensionResults: {},
})

const register = (vector: Vector) =>
  ceremoniesFor(vector.registration.challenge).finishCreation(
    { for: 'register', sessionId: 's' },
    { flow_token, credential: registrationOf(vector) },
  )

/** As the library reads the registration, without the rules of this gateway. */
async function passkeyOf(vector: Vector): Promise<Passkey> {
  const { registrationInfo } = await verifyRegistrationResponse({
    response: registrationOf(vector),
    expectedChallenge: base64url(vector.registration.challenge),
    expectedOrigin: ORIGIN,
    expectedRPID: 'example.org',
    requireUserVerification: false,
    supportedAlgorithmIDs: [-8, -7, -257],
  })
  const { credential, credentialDeviceType } = registrationInfo!
  return {
    credential_id: Buffer.from(credential.id, 'base64url'),
    public_key: Buffer.from(credential.publicKey),
    rp_id: 'example.org',
    is_backup_eligible: credentialDeviceType === 'multiDevice',
  } as Partial<Passkey> as Passkey
}

const signIn = (vector: Vector, passkey: Passkey, signature = vector.authentication.signature) =>
  ceremoniesFor(vector.authentication.challenge).finishRequest(
    { for: 'factor', userId: 'u' },
    { flow_token, credential: assertionOf({ ...vector, authentication: { ...vector.authentication, signature } }) },
    passkey,
    null,
  )

const causeOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    ({ code, cause }) => `${code}: ${cause}`,
  )

/** Why a registration is refused. The others are accepted. */
const REFUSED: Record<string, string> = {
  'none-es256': 'User verification',
  'none-es256-crossOrigin': 'frame',
  'none-es256-topOrigin': 'User verification',
  'none-es256-long-credential-id': 'User verification',
  'packed-es384': 'User verification',
  'packed-es512': 'public key alg',
  'packed-eddsa': 'User verification',
  'packed-ed448': 'User verification',
  'tpm-es256': 'format',
  'android-key-es256': 'format',
  'apple-es256': 'format',
  'fido-u2f-es256': 'format',
}
/** Their signatures are checked, too: they are of algorithms that are asked for, and not of a frame. */
const SIGNED = ['none-es256', 'packed-self-es256', 'none-es256-long-credential-id', 'packed-es256', 'packed-rs256', 'packed-eddsa']

it('the vectors are all there', () => {
  expect(vectors).toHaveLength(15)
  for (const { registration, authentication } of vectors) expect(Object.values({ ...registration, ...authentication })).not.toContain(null)
})

describe.each(vectors.map((vector) => [vector.anchor, vector] as const))('%s', (anchor, vector) => {
  it(anchor in REFUSED ? `makes no passkey: ${REFUSED[anchor]}` : 'makes a passkey', async () => {
    const cause = await causeOf(register(vector))
    if (anchor in REFUSED) expect(cause).toMatch(new RegExp(`^passkey_refused: .*${REFUSED[anchor]}`))
    else expect(cause).toBe(null)
  })

  it('no other signature is accepted', async () => {
    const passkey = await passkeyOf(SIGNED.includes(anchor) ? vector : vectors[0]!)
    const other = vectors[(vectors.indexOf(vector) + 1) % vectors.length]!
    expect(await causeOf(signIn(vector, passkey, other.authentication.signature))).toMatch(/^passkey_refused/)
  })
})

describe.each(SIGNED)('%s', (anchor) => {
  it('signs', async () => {
    const vector = vectors.find((one) => one.anchor === anchor)!
    const passkey = await passkeyOf(vector)
    const { amr } = await signIn(vector, passkey)
    expect(amr).toEqual([passkey.is_backup_eligible ? 'swk' : 'hwk', 'user'])
  })
})
