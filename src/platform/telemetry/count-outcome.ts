import { Problem } from '../lib/errors.ts'

/** Calls `count` with the outcome of each call of `work`: `success`, or the error code. */
export const countOutcome =
  <A extends unknown[], R>(
    count: (outcome: string, args: A) => void,
    work: (...args: A) => Promise<R>,
    outcomeOf = (_answer: R) => 'success',
  ) =>
  async (...args: A): Promise<R> => {
    try {
      const answer = await work(...args)
      count(outcomeOf(answer), args)
      return answer
    } catch (error) {
      count(error instanceof Problem ? error.code : 'internal', args)
      throw error
    }
  }
