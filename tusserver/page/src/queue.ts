// Which transfers run. A browser opens six connections to a server at most: one is left for what
// must not wait, such as the removal of an upload.

import type { Transfer } from './transfer'

const CONNECTIONS = 5

export class Queue {
  readonly transfers: Transfer[] = []

  add(transfer: Transfer): void {
    this.transfers.push(transfer)
    this.advance()
  }

  remove(transfer: Transfer): void {
    const index = this.transfers.indexOf(transfer)
    if (index >= 0) this.transfers.splice(index, 1)
    this.advance()
  }

  /** Find one that is not over yet. */
  find(key: string): Transfer | undefined {
    return this.transfers.find((one) => one.key === key && !['done', 'cancelled'].includes(one.state))
  }

  /** Start what there are connections for, in the order in which it came. */
  advance(): void {
    let taken = 0
    for (const one of this.transfers) {
      if (one.state === 'active' || one.state === 'joining') taken += one.width
    }
    for (const one of this.transfers) {
      if (one.state !== 'waiting') continue
      if (taken > 0 && taken + one.width > CONNECTIONS) return
      taken += one.width
      void one.start()
    }
  }
}
