/** socket.io: repeats what it is sent. Run by: node socket-io.ts PORT PREFIX CACHE */
import http from 'node:http'
import { createRequire } from 'node:module'

const [port, , cache] = process.argv.slice(2)
const { Server } = createRequire(`${cache}/npm/package.json`)('socket.io') as any
const server = http.createServer((_req, res) => res.end('served'))
const io = new Server(server)
io.on('connection', (socket: any) => socket.on('message', (text: string, reply: (text: string) => void) => reply(text)))
server.listen(Number(port), '127.0.0.1')
