// Errors, sizes and times in plain words.

import type { Settings } from './settings'

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

export function size(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${value.toFixed(digits).replace(/\.0$/, '')} ${UNITS[unit] ?? ''}`
}

export function duration(seconds: number): string {
  if (seconds < 5) return 'a few seconds'
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86400)} days`
}

/** What went wrong with a request. */
export interface Fault {
  /** 0: no answer came. */
  status: number
  /** The server's own name for it; empty if something else answered. */
  code: string
  /** The server's own sentence. */
  sentence: string
  /** Seconds after which to try again, if they were told. */
  retryAfter: number | null
  /** The answer came from a tus server, not from something in front of it. */
  isOurs: boolean
}

const LOST = 'There is no connection to the server.'
const BY_CODE: { [code: string]: string } = {
  forbidden: 'You are not allowed to do this here.',
  origin_refused:
    'The server does not know this page as its own. Whoever runs it has to name this address in ' +
    'its settings (cors-origins, or trusted-proxies behind a proxy).',
  quota_exceeded: 'The file does not fit into the space that you have left here.',
  storage_full: 'The server has no room left for this file.',
  store_exhausted: 'The server has no room left for this file.',
  too_many_uploads: 'There are too many unfinished uploads here at the moment.',
  too_many_requests: 'Uploads are being started too fast.',
  too_many_appends: 'The server takes no more uploads at this moment.',
  type_refused: 'Files of this kind are not accepted here.',
  digest_mismatch: 'The file arrived damaged and was thrown away.',
  shutting_down: 'The server is being restarted.',
  upload_locked: 'The upload is busy: another request is using it.',
}

export function explain(fault: Fault, settings: Settings): string {
  if (fault.code === 'max_size_exceeded') return tooLarge(settings)
  const known = BY_CODE[fault.code]
  if (known !== undefined) return known
  if (fault.isOurs && fault.sentence !== '' && fault.status < 500) return fault.sentence
  switch (fault.status) {
    case 0:
      return navigator.onLine ? LOST : 'This device is offline.'
    case 401:
      return 'The server wants to know who you are.'
    case 403:
      return 'You are not allowed to do this here.'
    case 404:
      return 'There is no server for uploads at this address.'
    case 413:
      return 'A proxy between here and the server refuses even small pieces of files.'
    case 502:
    case 503:
    case 504:
      return 'The server does not answer at the moment.'
    default:
      return fault.status >= 500
        ? 'The server has a problem.'
        : `The server refused the upload (status ${fault.status}).`
  }
}

export function tooLarge(settings: Settings): string {
  return settings.maxSize === null
    ? 'The file is too large for this server.'
    : `The file is too large: this server takes files up to ${size(settings.maxSize)}.`
}

/** Whether it may go away by itself. */
export function passes(fault: Fault): boolean {
  if (['storage_full', 'store_exhausted', 'quota_exceeded'].includes(fault.code)) return false
  const { status } = fault
  return status === 0 || status === 409 || status === 423 || status === 429 || status === 408 ||
    (status >= 500 && status !== 501 && status !== 507)
}
