/**
 * Writes a classic BPF program from its end to its start. Classic BPF only jumps forward, so in this order every target
 * exists when the jump to it is written, and its distance is known.
 */

import { type Instruction, opcode } from './bpf.js';

/** A place in the program, counted from its end; a jump leads from a greater one to a lesser one. */
export type Position = number;

type Comparison = (typeof opcode)['jumpIfEqual' | 'jumpIfGreater' | 'jumpIfGreaterOrEqual'];

/** The farthest that a conditional jump's 8-bit displacement reaches. */
const reach = 255;

export class Assembler {
  readonly #reversed: Instruction[] = [];
  readonly #returns = new Map<number, Position>();

  /** The instruction at which execution starts if nothing is added; others fall through to it. */
  get #first(): Position {
    return this.#reversed.length - 1;
  }

  /** A `return value`: one already written where a jump reaches it, otherwise a new one. */
  return(value: number): Position {
    const known = this.#returns.get(value);
    if (known !== undefined && this.#first - known < reach / 2) return known;
    const position = this.#push({ code: opcode.return, jt: 0, jf: 0, k: value });
    this.#returns.set(value, position);
    return position;
  }

  /** A comparison of the accumulator with `k`. */
  compare(code: Comparison, k: number, then: Position, otherwise: Position): Position {
    let jt = then;
    let jf = otherwise;
    // A way station for one target moves the other one instruction away, hence a loop.
    while (this.#first - jt > reach || this.#first - jf > reach) {
      if (this.#first - jf > reach) jf = this.#station(jf);
      else jt = this.#station(jt);
    }
    return this.#push({ code, jt: this.#first - jt, jf: this.#first - jf, k });
  }

  /** `A = word at offset`, followed by what stands at `next`. */
  load(offset: number, next: Position): Position {
    this.#fallThrough(next);
    return this.#push({ code: opcode.load, jt: 0, jf: 0, k: offset });
  }

  /** `A &= mask`, followed by what stands at `next`. */
  and(mask: number, next: Position): Position {
    this.#fallThrough(next);
    return this.#push({ code: opcode.and, jt: 0, jf: 0, k: mask });
  }

  /** How many instructions there are. */
  get length(): number {
    return this.#reversed.length;
  }

  /** The program in the order of execution. */
  finish(): Instruction[] {
    return this.#reversed.toReversed();
  }

  /** Somewhere near that leads to `target`: a copy if it is a return, since that costs no second jump. */
  #station(target: Position): Position {
    const instruction = this.#reversed[target];
    if (instruction?.code === opcode.return) {
      const copy = this.#push(instruction);
      this.#returns.set(instruction.k, copy);
      return copy;
    }
    return this.#push({ code: opcode.jump, jt: 0, jf: 0, k: this.#first - target });
  }

  #fallThrough(target: Position): void {
    if (target !== this.#first) this.#station(target);
  }

  #push(instruction: Instruction): Position {
    return this.#reversed.push(instruction) - 1;
  }
}
