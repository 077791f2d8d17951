/** The endpoint for challenges of a proof of work. It exists only where one is asked for. */
import { Type } from 'typebox'
import { answers, NO_CREDENTIAL, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { ACTIONS, ChallengeSchema, type ProofOfWork } from '../credentials/proof-of-work.ts'

export const challengeRoutes =
  ({ issue }: Pick<ProofOfWork, 'issue'>) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/challenge',
      {
        config: { name: 'auth.challenge', countsByAddress: true } as object,
        schema: {
          summary: 'Get a challenge for a proof of work',
          description:
            'A challenge of ALTCHA, version 2, valid for 5 minutes. One request of the action takes its solution, once. Needs no credential.',
          security: NO_CREDENTIAL,
          querystring: strictBody({ for: Type.Enum([...ACTIONS], { description: 'The action that the solution is for.' }) }),
          response: answers({ 200: ChallengeSchema }, [422, 429, 503]),
        },
      },
      ({ query }) => issue(query.for),
    )
  }
