// Uploads one file with tus-js-client as a JSON job says, and prints what happens as JSON lines.
// Usage: node driver.mjs FOLDER_OF_NODE_MODULES JOB

import { createReadStream } from 'node:fs'
import { createRequire } from 'node:module'
import { PassThrough } from 'node:stream'

const [modules, text] = process.argv.slice(2)
const tus = createRequire(`${modules}/`)('tus-js-client')
const { file, stream, storage, resume, abortAfter, terminate, options } = JSON.parse(text)

const say = (event, data = {}) => console.log(JSON.stringify({ event, ...data }))

const whatHappened = (error) => ({
  message: String(error.message),
  status: error.originalResponse ? error.originalResponse.getStatus() : null,
})

function source() {
  const reading = createReadStream(file)
  // Anything but a ReadStream has no size that the client could know.
  return stream ? reading.pipe(new PassThrough()) : reading
}

let aborting = false

async function progress(bytes) {
  say('progress', { bytes })
  if (abortAfter == null || bytes < abortAfter || aborting) return
  aborting = true
  await upload.abort(Boolean(terminate))
  say('aborted')
}

const upload = new tus.Upload(source(), {
  ...options,
  ...(storage ? { urlStorage: new tus.FileUrlStorage(storage) } : {}),
  onUploadUrlAvailable: () => say('url', { url: upload.url }),
  onProgress: progress,
  onAfterResponse: (request, response) =>
    say('answer', {
      method: request.getMethod(),
      url: request.getURL(),
      status: response.getStatus(),
      offset: response.getHeader('Upload-Offset') ?? null,
    }),
  onShouldRetry: (error, attempt, own) => {
    const status = error.originalResponse ? error.originalResponse.getStatus() : 0
    // The client's own rule, which it does not export.
    const again = Math.floor(status / 100) !== 4 || status === 409 || status === 423
    say('retry', { attempt, again, ...whatHappened(error) })
    return again
  },
  onSuccess: () => say('success', { url: upload.url }),
  onError: (error) => {
    say('error', whatHappened(error))
    process.exitCode = 1
  },
})

if (resume) {
  const [previous] = await upload.findPreviousUploads()
  say('previous', { url: previous ? previous.uploadUrl : null })
  if (previous) upload.resumeFromPreviousUpload(previous)
}
upload.start()
