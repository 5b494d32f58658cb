// How much goes into one request. A proxy that refuses large bodies teaches us smaller ones.

const MIB = 1024 * 1024
const STEPS = [64 * MIB, 16 * MIB, 4 * MIB, MIB, MIB / 2, MIB / 4]
const KEY = 'tusserver:chunk'

export class Chunks {
  #size: number

  constructor(setting: number | null) {
    this.#size = setting ?? Number.POSITIVE_INFINITY
    try {
      const learned = Number(sessionStorage.getItem(KEY))
      if (learned > 0) this.#size = Math.min(this.#size, learned)
    } catch {
      // Without storage it is learned anew.
    }
  }

  get size(): number {
    return this.#size
  }

  /** Go below a body that was refused; false when it cannot be any smaller. */
  shrinkBelow(body: number): boolean {
    if (this.#size < body) return true // another part has learned it meanwhile
    const next = STEPS.find((step) => step < body)
    if (next === undefined) return false
    this.#size = next
    try {
      sessionStorage.setItem(KEY, String(next))
    } catch {
      // See above.
    }
    return true
  }
}
