import type { IncomingMessage } from 'node:http'

/** The client has closed its side. It may still read, as some old programs do; most have given up. */
export const hasLeft = ({ socket }: Pick<IncomingMessage, 'socket'>): boolean => socket.destroyed || socket.readableEnded
