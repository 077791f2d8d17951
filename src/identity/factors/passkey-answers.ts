/** What browsers send at the end of a ceremony (WebAuthn L3 §5.1.8.2). Members that are not needed are ignored. */
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server'
import { type Static, type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'

const Text = Type.String({ maxLength: 16_384 })
const Id = Type.String({ minLength: 1, maxLength: 1400, pattern: '^[A-Za-z0-9_-]+$' })
export const FlowToken = Type.String({ maxLength: 128, description: 'From `options`.' })
const common = { id: Id, rawId: Id, type: Type.Literal('public-key') }

export const Assertion = Type.Object(
  {
    ...common,
    response: Type.Object({
      clientDataJSON: Text,
      authenticatorData: Text,
      signature: Text,
      userHandle: Type.Optional(Type.Union([Text, Type.Null()])),
    }),
  },
  { title: 'AuthenticationResponseJSON' },
)
export const Attestation = Type.Object(
  {
    ...common,
    response: Type.Object({
      clientDataJSON: Text,
      attestationObject: Text,
      transports: Type.Optional(Type.Array(Type.String({ maxLength: 32 }), { maxItems: 16 })),
    }),
  },
  { title: 'RegistrationResponseJSON' },
)
/** Browsers send `userHandle: null`, which the library does not know. */
export function assertionOf(credential: Static<typeof Assertion>): AuthenticationResponseJSON {
  const { userHandle, ...response } = credential.response
  return { ...credential, response: { ...response, ...(userHandle != null && { userHandle }) }, clientExtensionResults: {} }
}

export const attestationOf = (credential: Static<typeof Attestation>): RegistrationResponseJSON => ({
  ...credential,
  response: credential.response,
  clientExtensionResults: {},
})

const reader =
  <S extends TSchema, C>(schema: S, convert: (value: Static<S>) => C) =>
  (value: unknown): C | null =>
    Value.Check(schema, value) ? convert(value as Static<S>) : null

/** For an answer that did not pass the schema of an endpoint. @returns null for another form */
export const readAssertion = reader(Assertion, assertionOf)
export const readAttestation = reader(Attestation, attestationOf)
