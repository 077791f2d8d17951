/** Sends more requests than the machine can answer; `load/run.ts` counts the answered requests. */
import { check } from 'k6'
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { arrivals, getOrders, registerUsers, type User } from './gateway.ts'
import { handOver } from './summary.ts'

export const options: Options = {
  scenarios: { maximum: arrivals({ rate: 12_000, duration: '20s', clients: 400 }) },
  thresholds: { 'checks{scenario:maximum}': ['rate==1'] },
  discardResponseBodies: true,
}

export const setup = (): User[] => registerUsers(10)

export default function ask(users: User[]): void {
  check(getOrders(users[exec.scenario.iterationInTest % users.length]!), { 'answers 200': ({ status }) => status === 200 })
}

export const handleSummary = handOver()
