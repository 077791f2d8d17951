/** What the second step of a login may show. */
import type { Db } from '../../platform/db/database.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { FactorMethod, SecondFactor } from '../factors/second-factor.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'

export interface FactorStepDeps {
  db: Db
  mfaTokens: MfaTokens
  limitInvalidTokens: InvalidTokenLimit
  factor: Pick<SecondFactor, 'methodsOf'>
}

/** @throws mfa_token_invalid */
export type FactorStep = (mfaToken: string, context: RequestContext) => Promise<FactorMethod[]>

export const createFactorStep =
  ({ db, mfaTokens, limitInvalidTokens, factor }: FactorStepDeps): FactorStep =>
  async (mfaToken, { client }) => {
    const { userId } = await limitInvalidTokens.check(client, () => mfaTokens.verify(mfaToken))
    return factor.methodsOf(db, userId)
  }
