/** Plain http is for tests and development: it does not leave the machine. */
const LOOPBACK_URL = /^http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(\/|$)/i

/** Whether what is read from there can be trusted: https, or this machine. */
export const isSafeUrl = (url: string): boolean => URL.canParse(url) && (/^https:\/\//i.test(url) || LOOPBACK_URL.test(url))
