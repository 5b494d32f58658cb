// What a page tells the test that looks at it.

const events = []
let sent = 0

function say(event, data = {}) {
  events.push({ event, ...data })
}

function forget() {
  events.length = 0
}

function sayProgress(bytes) {
  sent = Math.max(sent, bytes)
}

function sayAnswer(request, response) {
  say('answer', {
    method: request.getMethod(),
    url: request.getURL(),
    status: response.getStatus(),
    offset: response.getHeader('Upload-Offset') ?? null,
  })
}

function sayError(error, data = {}) {
  const response = error.originalResponse
  say('error', {
    ...data,
    message: String(error.message),
    status: response ? response.getStatus() : null,
    body: response ? response.getBody() : null,
  })
}
