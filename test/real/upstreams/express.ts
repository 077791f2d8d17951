/** Express, with its own parsers and answers. Run by: node express.ts PORT PREFIX CACHE */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'

const [port, prefix = '', cache] = process.argv.slice(2)
const express = createRequire(`${cache}/npm/package.json`)('express') as any
const app = express()
const router = express.Router()

router.get('/small', (req: any, res: any) => res.json({ url: req.originalUrl, headers: req.headers }))
router.get('/large', (_req: any, res: any) => res.send(Buffer.alloc(1_000_000, '0123456789abcdef')))
router.get('/empty', (_req: any, res: any) => res.send(''))
router.get('/none', (_req: any, res: any) => res.sendStatus(204))
router.get('/chunked', (_req: any, res: any) => {
  res.type('text')
  res.write('one ')
  setTimeout(() => res.end('two'), 5)
})
router
  .route('/echo')
  .all(express.raw({ type: () => true, limit: '10mb' }))
  .all((req: any, res: any) => {
    const sha256 = createHash('sha256')
      .update(req.body ?? '')
      .digest('hex')
    res.json({ method: req.method, url: req.originalUrl, sha256, headers: req.headers })
  })
router.get('/redirect', (_req: any, res: any) => res.redirect(`${prefix}/small`))
router.get('/cookies', (req: any, res: any) =>
  res.cookie('a', '1', { httpOnly: true }).cookie('b', '2', { sameSite: 'lax' }).json(req.headers.cookie),
)
router.get('/etag', (_req: any, res: any) => res.set('etag', '"v1"').send('version 1'))
router.get('/range', (_req: any, res: any) => res.sendFile(import.meta.filename))
router.get('/status/500', () => {
  throw new Error('on purpose')
})
router.post('/early', (_req: any, res: any) => res.status(413).set('connection', 'close').json({ error: 'too large' }))
const events = (list: string[]) => (_req: any, res: any) => {
  res.type('text/event-stream').flushHeaders()
  for (const event of list) res.write(`data: ${event}\n\n`)
  res.end()
}
router.get('/events', events(['1', '2']))
router.post('/completion', express.json(), events(['{"token":"a"}', '[DONE]']))
router.get('/poll', (_req: any, res: any) => setTimeout(() => res.send('at last'), 200))
app.use(prefix, router)
app.set('env', 'production')
app.listen(Number(port), '127.0.0.1')
