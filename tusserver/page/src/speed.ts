// How fast bytes go, over the last seconds.

const WINDOW = 8000

export class Speed {
  #marks: Array<[time: number, bytes: number]> = []

  /** Note how many bytes have gone; less than before means that some were lost. */
  note(bytes: number, now = performance.now()): void {
    const last = this.#marks.at(-1)
    if (last !== undefined && bytes < last[1]) this.#marks = []
    this.#marks.push([now, bytes])
    while ((this.#marks[1]?.[0] ?? now) < now - WINDOW) this.#marks.shift()
  }

  reset(): void {
    this.#marks = []
  }

  /** Bytes a second; null while too little is known. */
  get(): number | null {
    const first = this.#marks[0]
    const last = this.#marks.at(-1)
    if (first === undefined || last === undefined || last[0] - first[0] < 800) return null
    return ((last[1] - first[1]) * 1000) / (last[0] - first[0])
  }
}
