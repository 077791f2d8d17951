/** A WebSocket server that repeats what it is sent, and takes the last of the offered subprotocols. Run by: node websocket.ts PORT */
import { WebSocketServer } from 'ws'

const handleProtocols = (offered: Set<string>) => [...offered].at(-1)!
new WebSocketServer({ port: Number(process.argv[2]), host: '127.0.0.1', handleProtocols }).on('connection', (socket) => {
  socket.on('message', (data, isBinary) =>
    String(data) === 'bye' ? socket.close(4000, 'as asked') : socket.send(data, { binary: isBinary }),
  )
})
