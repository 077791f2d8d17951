/** From 1970 to the year 9999: RFC 3339 writes no other years in four digits, and not every database takes what is written in more. */
export const isStorable = (at: Date): boolean => at.getTime() >= 0 && at.getTime() < Date.UTC(10_000, 0)
