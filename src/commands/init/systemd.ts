/** The unit of docs/operations.md, with the values of one installation. */
import { adapt, readTemplate } from './adapt.ts'
import type { Plan } from './plan.ts'

const BEFORE = 'NoNewPrivileges=true\n'

/** Ports below 1024 are for programs with this right. */
const LOW_PORTS = 'AmbientCapabilities=CAP_NET_BIND_SERVICE\n'

export function unitText({ listen: { port, redirectPort } }: Plan): string {
  const needsLowPort = [port, redirectPort].some((one) => one !== null && one < 1024)
  return adapt(readTemplate('portcullis.service'), { [BEFORE]: needsLowPort ? LOW_PORTS + BEFORE : BEFORE })
}
