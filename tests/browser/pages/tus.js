// Uploads the chosen file with tus-js-client, as the test says.

const STREAM = 'stream'
const RESUME = 'resume'
let upload = null

async function begin({ ways, options }) {
  const [file] = document.querySelector('input').files
  // A reader has no size that the client could know.
  const source = ways.includes(STREAM) ? file.stream().getReader() : file
  upload = new tus.Upload(source, {
    metadata: { filename: file.name },
    onUploadUrlAvailable: () => say('url', { url: upload.url }),
    onProgress: sayProgress,
    onAfterResponse: sayAnswer,
    onSuccess: () => say('success', { url: upload.url }),
    onError: sayError,
    ...options,
  })
  if (ways.includes(RESUME)) {
    const [previous] = await upload.findPreviousUploads()
    say('previous', { urls: previous ? (previous.parallelUploadUrls ?? [previous.uploadUrl]) : [] })
    if (previous) upload.resumeFromPreviousUpload(previous)
  }
  upload.start()
}

const pause = () => upload.abort()
const proceed = () => upload.start()
const terminate = () => upload.abort(true)
