/** The parts of the console, in the order of the navigation. */
import { clientsSection } from './clients.pages.ts'
import { healthSection } from './health.pages.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'
import { usersSection } from './users.pages.ts'

export const sectionsOf = (parts: ConsoleParts): ConsoleSection[] => [usersSection(parts), clientsSection(parts), healthSection(parts)]
