// One tus upload: a whole file, or one of its parts. It tries again by itself, with growing pauses,
// and sends smaller pieces when something in front of the server refuses large ones.

import { type DetailedError, type HttpRequest, type HttpResponse, Upload } from 'tus-js-client'
import { type Access, bare } from './access'
import type { Chunks } from './chunks'
import { type Fault, passes } from './words'

const PAUSES = [0.5, 1, 2, 4, 8, 15, 30, 30, 60, 60, 60, 60, 60, 60]
/** So often nothing of a body arrived, although bytes went out: it may be too large for a proxy. */
const FRUITLESS = 2
/** Less than this is no sign of anything: it may have been in the buffers of this machine. */
const NOTICEABLE = 256 * 1024

export interface PartEvents {
  /** Bytes went out, or a pause began or ended. */
  changed(): void
  /** The upload has a URL now, without credentials. */
  located(url: string): void
  /** What was there is gone: it began anew. */
  lost(): void
  done(): void
  failed(fault: Fault, error: Error): void
}

export class Part {
  /** Where it is on the server, without credentials; empty: nowhere yet. */
  url: string
  /** Bytes that went out; the server may have fewer. */
  sent = 0
  isDone = false
  /** Why it waits before it tries again. */
  waitsFor: Fault | null = null
  /** When it tries again, on the clock of `performance.now`. */
  triesAt = 0

  #upload: Upload | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #attempt = 0
  #confirmed = 0
  /** Where the request before began, and how often one began there in vain. */
  #began = -1
  #fruitless = 0

  constructor(
    private readonly blob: Blob,
    private readonly access: Access,
    private readonly chunks: Chunks,
    private readonly headers: Record<string, string>,
    private readonly metadata: Record<string, string>,
    private readonly events: PartEvents,
    url = '',
  ) {
    this.url = url
  }

  /** Begin, or go on. */
  run(): void {
    if (this.isDone || this.#upload !== null) return
    clearTimeout(this.#timer)
    this.waitsFor = null
    const upload = new Upload(this.blob, {
      endpoint: this.access.endpoint,
      uploadUrl: this.url === '' ? null : this.access.sign(this.url),
      chunkSize: this.chunks.size,
      retryDelays: null as unknown as number[], // see #failed
      headers: this.headers,
      metadata: this.metadata,
      fingerprint: () => Promise.resolve(''),
      storeFingerprintForResuming: false,
      onBeforeRequest: (request) => this.#before(upload, request),
      onAfterResponse: (request, response) => this.#after(request, response),
      onUploadUrlAvailable: () => this.#located(upload),
      onProgress: (sent) => {
        this.sent = sent
        this.events.changed()
      },
      onSuccess: () => {
        if (this.#upload !== upload) return
        this.#upload = null
        this.isDone = true
        this.sent = this.blob.size
        this.events.done()
      },
      onError: (error) => {
        if (this.#upload !== upload) return
        this.#upload = null
        this.#failed(error)
      },
    })
    this.#upload = upload
    upload.start()
  }

  /** Stop sending; what the server has is kept. */
  stop(): void {
    clearTimeout(this.#timer)
    this.waitsFor = null
    this.#attempt = 0
    const upload = this.#upload
    this.#upload = null
    if (upload !== null) void upload.abort()
  }

  /** Try again now, if it waits. */
  hurry(): void {
    if (this.waitsFor !== null) this.run()
  }

  #before(upload: Upload, request: HttpRequest): void {
    // An upload that was stopped before its first request would send it all the same.
    if (this.#upload !== upload) throw new Error('stopped')
    for (const [name, value] of Object.entries(this.access.headers())) {
      request.setHeader(name, value)
    }
    if (request.getMethod() === 'PATCH') {
      if (this.#confirmed > this.#began) this.#fruitless = 0
      this.#began = this.#confirmed
    }
  }

  #after(request: HttpRequest, response: HttpResponse): void {
    const status = response.getStatus()
    const isFine = status >= 200 && status < 300
    // The library takes any refusal of HEAD for the loss of the upload and begins anew.
    if (request.getMethod() === 'HEAD' && !isFine) {
      if (status !== 404 && status !== 410) throw new RefusedError(response)
      this.url = ''
      this.#confirmed = 0
      this.#began = -1
      this.sent = 0
      this.events.lost()
    }
    const offset = Number(response.getHeader('Upload-Offset') ?? Number.NaN)
    if (isFine && offset > this.#confirmed) {
      this.#confirmed = offset
      this.#attempt = 0
    }
  }

  #located(upload: Upload): void {
    if (upload.url === null) return
    this.url = bare(upload.url)
    this.events.located(this.url)
  }

  #failed(error: Error): void {
    const fault = faultOf(error)
    const body = Math.min(this.chunks.size, this.blob.size - this.#confirmed)
    if (fault.status === 413 && !fault.isOurs) {
      if (this.chunks.shrinkBelow(body)) return this.run()
      return this.#giveUp(fault, error)
    }
    if (!fault.isOurs && this.sent - this.#confirmed > NOTICEABLE) {
      // A proxy may cut the connection in the place of an answer to a large body, or after it.
      this.#fruitless += 1
      if (this.#fruitless >= FRUITLESS && this.chunks.shrinkBelow(body)) this.#fruitless = 0
    }
    const pause = PAUSES[this.#attempt]
    if (!passes(fault) || pause === undefined) return this.#giveUp(fault, error)
    this.#attempt += 1
    // Not all at the same moment, when a server comes back.
    const seconds = Math.max(pause * (0.8 + 0.4 * Math.random()), fault.retryAfter ?? 0)
    this.waitsFor = fault
    this.triesAt = performance.now() + seconds * 1000
    this.#timer = setTimeout(() => this.run(), seconds * 1000)
    this.events.changed()
  }

  #giveUp(fault: Fault, error: Error): void {
    this.#attempt = 0
    this.events.failed(fault, error)
  }
}

/** An answer that must not be taken for the loss of the upload. */
class RefusedError extends Error {
  constructor(readonly response: HttpResponse) {
    super(`refused with status ${response.getStatus()}`)
  }
}

function faultOf(error: Error | DetailedError): Fault {
  let response = 'originalResponse' in error ? error.originalResponse : null
  const cause = 'causingError' in error ? error.causingError : null
  if (cause instanceof RefusedError) response = cause.response
  if (!response || response.getStatus() === 0) return fault(0, '', () => null)
  return fault(response.getStatus(), response.getBody() ?? '', (name) =>
    response.getHeader(name) ?? null,
  )
}

/** Read an answer that is no success: `code: Sentence.` is how the server words it. */
export function fault(
  status: number,
  body: string,
  header: (name: string) => string | null,
): Fault {
  const isOurs = header('Tus-Resumable') !== null
  const said = isOurs ? /^([a-z_]+): (.*)$/m.exec(body) : null
  const seconds = Number(header('Retry-After') ?? Number.NaN)
  return {
    status,
    isOurs,
    code: said?.[1] ?? '',
    sentence: said?.[2] ?? '',
    retryAfter: Number.isFinite(seconds) ? Math.min(seconds, 300) : null,
  }
}
