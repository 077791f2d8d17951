/** From 1970 to 9999. RFC 3339 has years of four digits, and some databases refuse longer ones. */
export const isStorable = (at: Date): boolean => at.getTime() >= 0 && at.getTime() < Date.UTC(10_000, 0)
