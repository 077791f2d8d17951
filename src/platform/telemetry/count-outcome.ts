import { Problem } from '../lib/errors.ts'

/** Tells how each call of `work` ends: `success`, or the code of its refusal. */
export const countOutcome =
  <A extends unknown[], R>(tell: (outcome: string) => void, work: (...args: A) => Promise<R>, outcomeOf = (_answer: R) => 'success') =>
  async (...args: A): Promise<R> => {
    try {
      const answer = await work(...args)
      tell(outcomeOf(answer))
      return answer
    } catch (error) {
      tell(error instanceof Problem ? error.code : 'internal')
      throw error
    }
  }
