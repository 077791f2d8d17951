/** Programs that tests run and that the product does not need. */
import { describe, it } from 'vitest'
import { has, TOOL_PATH } from './processes.ts'

export interface Tool {
  /** Its name on TOOL_PATH, or a path. */
  program: string
  /** How it is installed. */
  remedy: string
}

/** Runs the tests where the program is installed. Elsewhere they are skipped with a message; in CI they fail. */
export function describeWith({ program, remedy }: Tool, name: string, tests: () => void): void {
  describe(name, () => {
    if (has(program, TOOL_PATH)) return tests()
    it(`${program} is missing`, ({ skip }) => {
      const message = `${program} is missing, so these tests were not run: ${name}. ${remedy}`
      if (process.env.CI === 'true') throw new Error(message)
      console.warn(message)
      skip(message)
    })
  })
}
