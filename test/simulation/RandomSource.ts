/**
 * Randomness that a seed determines, and nothing else.
 */

/** A 32-bit generator (sfc32): small, fast, and the same everywhere. */
export class RandomSource {
  private a: number
  private b = 0x9e3779b9
  private c = 0x243f6a88
  private d = 1

  constructor(seed: number, salt = 0) {
    this.a = seed >>> 0
    this.c ^= salt >>> 0
    for (let round = 0; round < 16; round++) {
      this.next()
    }
  }

  /** 0 to 2³² − 1. */
  private next(): number {
    const sum = (this.a + this.b + this.d++) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (this.c << 21) | (this.c >>> 11)
    this.c = (this.c + sum) | 0
    return sum >>> 0
  }

  /** A number from 0 up to but not `end`. */
  real(end: number): number {
    return this.next() / 0x1_0000_0000 * end
  }

  /** A whole number from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.real(high - low + 1))
  }

  chance(probability: number): boolean {
    return this.real(1) < probability
  }

  pick<A>(choices: ReadonlyArray<A>): A {
    const choice = choices[this.integer(0, choices.length - 1)]
    if (choice === undefined) {
      throw new Error("nothing to pick from")
    }
    return choice
  }

  /** One of several values, each as likely as its weight says. */
  weighted<A>(choices: ReadonlyArray<readonly [weight: number, value: A]>): A {
    let rest = this.real(choices.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, value] of choices) {
      rest -= weight
      if (rest < 0) {
        return value
      }
    }
    return this.pick(choices)[1]
  }
}
