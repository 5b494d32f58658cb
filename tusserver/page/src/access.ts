// Where to send, and with which credential. The credential is kept in memory only: it is put into
// no storage, and taken out of the page's own address.

import type { Settings } from './settings'

export class Access {
  readonly #endpoint: URL
  #token = ''
  #grant = ''

  constructor(settings: Settings) {
    this.#endpoint = new URL(settings.endpoint, new URL('.', location.href))
    this.#endpoint.hash = ''
    const grant = new URLSearchParams(location.hash.slice(1)).get('grant')
    if (grant) {
      this.#grant = grant
      history.replaceState(null, '', location.pathname + location.search)
    }
  }

  /** The creation URL without any credential: what uploads are remembered by. */
  get place(): string {
    return this.#endpoint.href
  }

  get endpoint(): string {
    return this.sign(this.#endpoint.href)
  }

  get isGiven(): boolean {
    return this.#token !== '' || this.#grant !== ''
  }

  /** The right to upload came with the link to this page: somebody else gave it. */
  get isLent(): boolean {
    return this.#grant !== ''
  }

  get usesToken(): boolean {
    return this.#token !== ''
  }

  /** Take what somebody typed: a token, a link with a grant, or nothing. */
  take(text: string): void {
    const trimmed = text.trim().replace(/^Bearer\s+/i, '')
    const grant = /[?&#]grant=([^&#\s]+)/.exec(trimmed)
    this.#grant = grant?.[1] === undefined ? '' : decodeURIComponent(grant[1])
    this.#token = grant ? '' : trimmed
  }

  /** Add the grant to a URL that was remembered without it. */
  sign(url: string): string {
    if (this.#grant === '') return url
    const signed = new URL(url)
    signed.searchParams.set('grant', this.#grant)
    return signed.href
  }

  headers(): Record<string, string> {
    return this.#token === '' ? {} : { Authorization: `Bearer ${this.#token}` }
  }

  /** Ask something of the server that has no body. */
  async ask(method: string, url: string, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.sign(url), {
      method,
      headers: { 'Tus-Resumable': '1.0.0', ...this.headers(), ...headers },
      cache: 'no-store',
    })
  }
}

/** Take the credential out of a URL. */
export function bare(url: string): string {
  const plain = new URL(url)
  plain.search = ''
  return plain.href
}
