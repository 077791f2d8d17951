/**
 * Decides whether operations that overlap can be put in one order that a sequential model allows, and that respects real time (Herlihy and
 * Wing 1990). The search is the one of Wing and Gong (1993), with Lowe's memory of states that were tried (2017).
 */
import type { Operation } from './history.ts'

export interface Model<State, Op extends Operation> {
  initial: State
  /** The states after the operation, if its outcome is possible in this state. An unknown outcome: the states in which it took effect. */
  step(state: State, operation: Op): State[]
  /** Two states with the same key are equal. */
  key(state: State): string
}

export type Verdict<Op> = { isLinearizable: true } | { isLinearizable: false; after: number; stuck: Op[] }

interface Step<State> {
  state: State
  /** Bit n: operation n has its position in the order. */
  placed: bigint
  count: number
}

/** An operation with an unknown outcome needs no position. `stuck`: what could not follow the longest order that was found. */
export function linearize<State, Op extends Operation>(all: readonly Op[], model: Model<State, Op>): Verdict<Op> {
  const operations = [...all].sort((a, b) => a.invokedAt - b.invokedAt)
  const isKnown = operations.map(({ outcome }) => outcome.kind !== 'unknown')
  const total = isKnown.filter(Boolean).length
  const tried = new Set<string>()
  const pending: Step<State>[] = [{ state: model.initial, placed: 0n, count: 0 }]
  let longest: Step<State> = pending[0]!
  while (pending.length > 0) {
    const step = pending.pop()!
    if (step.count > longest.count) longest = step
    if (step.count === total) return { isLinearizable: true }
    // the last candidate is tried first: known outcomes in the order of their invocation, then unknown outcomes
    const candidates = candidatesOf(operations, isKnown, step.placed)
    const ordered = [...candidates.filter((n) => !isKnown[n]), ...candidates.filter((n) => isKnown[n]).reverse()]
    for (const n of ordered) {
      const placed = step.placed | (1n << BigInt(n))
      for (const state of model.step(step.state, operations[n]!)) {
        // an unknown operation without an effect needs no position
        if (!isKnown[n] && model.key(state) === model.key(step.state)) continue
        const key = `${placed.toString(36)} ${model.key(state)}`
        if (tried.has(key)) continue
        tried.add(key)
        pending.push({ state, placed, count: step.count + (isKnown[n] ? 1 : 0) })
      }
    }
  }
  const stuck = candidatesOf(operations, isKnown, longest.placed).filter((n) => isKnown[n])
  return { isLinearizable: false, after: longest.count, stuck: stuck.map((n) => operations[n]!) }
}

/** Operations that no other remaining operation precedes in real time. */
function candidatesOf(operations: readonly Operation[], isKnown: readonly boolean[], placed: bigint): number[] {
  const found: number[] = []
  let earliestAnswer = Number.POSITIVE_INFINITY
  for (let n = 0; n < operations.length; n++) {
    if ((placed >> BigInt(n)) & 1n) continue
    const { invokedAt, answeredAt } = operations[n]!
    if (invokedAt > earliestAnswer) break
    found.push(n)
    if (isKnown[n]) earliestAnswer = Math.min(earliestAnswer, answeredAt)
  }
  return found
}
