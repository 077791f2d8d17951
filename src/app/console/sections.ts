/** The parts of the console, in the order of the navigation. */
import { auditSection } from './audit.pages.ts'
import { clientsSection } from './clients.pages.ts'
import { configurationSection } from './configuration.pages.ts'
import { errorsSection } from './errors.pages.ts'
import { healthSection } from './health.pages.ts'
import { invitationsSection } from './invitations.pages.ts'
import { keysSection } from './keys.pages.ts'
import { routesSection } from './routes.pages.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'
import { usersSection } from './users.pages.ts'
import { whySection } from './why.pages.ts'

const SECTIONS = [
  usersSection,
  invitationsSection,
  clientsSection,
  healthSection,
  auditSection,
  errorsSection,
  routesSection,
  whySection,
  keysSection,
  configurationSection,
]

export const sectionsOf = (parts: ConsoleParts): ConsoleSection[] => SECTIONS.map((section) => section(parts))
