/** No router, no hooks, no token: the minimum of a proxy that streams both ways with back-pressure. */
import http from 'node:http'
import { type Dispatcher, Pool } from 'undici'

const pool = new Pool(process.env.UPSTREAM!)

http
  .createServer((req, res) => {
    const hasBody = req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined
    pool.dispatch(
      { path: req.url!, method: req.method as Dispatcher.HttpMethod, headers: req.rawHeaders, body: hasBody ? req : null },
      {
        onRequestStart(controller) {
          res.on('drain', () => controller.resume())
          res.on('close', () => res.writableFinished || controller.abort(new Error('the client left')))
        },
        onResponseStart({ rawHeaders }, status) {
          res.writeHead(
            status,
            (rawHeaders as Buffer[]).map((field) => field.toString('latin1')),
          )
        },
        onResponseData(controller, chunk) {
          if (!res.write(chunk)) controller.pause()
        },
        onResponseEnd() {
          res.end()
        },
        onResponseError() {
          if (res.headersSent) res.destroy()
          else res.writeHead(502).end()
        },
      },
    )
  })
  .listen(Number(process.env.PORT), '127.0.0.1')
