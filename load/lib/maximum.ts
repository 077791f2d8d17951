/** Clients that ask again as soon as they have their answer; `load/run.ts` counts what comes through. */
import { check } from 'k6'
import type { Options } from 'k6/options'
import { getOrders, registerUsers, type User } from './gateway.ts'
import { handOver } from './summary.ts'

export const options: Options = {
  scenarios: { maximum: { executor: 'constant-vus', vus: 32, duration: '20s' } },
  thresholds: { 'checks{scenario:maximum}': ['rate==1'] },
  discardResponseBodies: true,
}

export const setup = (): User[] => registerUsers(10)

export default function ask(users: User[]): void {
  check(getOrders(users[__VU % users.length]!), { 'answers 200': ({ status }) => status === 200 })
}

export const handleSummary = handOver()
