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

  /** The program in the order of execution, without what nothing leads to. */
  finish(): Instruction[] {
    return withoutUnreachable(this.#reversed.toReversed());
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

/** Jumps lead forward, so one pass sees every way to an instruction before the instruction itself; distances only shrink. */
function withoutUnreachable(program: readonly Instruction[]): Instruction[] {
  const reached = new Set([0]);
  for (const [at, instruction] of program.entries()) {
    if (reached.has(at)) for (const next of successors(instruction, at)) reached.add(next);
  }
  // kept[at]: how many of those before `at` stay.
  const kept = [0];
  for (const at of program.keys()) kept.push((kept[at] ?? 0) + (reached.has(at) ? 1 : 0));
  const distance = (at: number, jump: number) => (kept[at + 1 + jump] ?? 0) - (kept[at + 1] ?? 0);
  return program.flatMap((instruction, at) => {
    if (!reached.has(at)) return [];
    if (instruction.code === opcode.jump) return [{ ...instruction, k: distance(at, instruction.k) }];
    if (!isConditional(instruction)) return [instruction];
    return [{ ...instruction, jt: distance(at, instruction.jt), jf: distance(at, instruction.jf) }];
  });
}

function successors(instruction: Instruction, at: number): number[] {
  if (instruction.code === opcode.return) return [];
  if (instruction.code === opcode.jump) return [at + 1 + instruction.k];
  return isConditional(instruction) ? [at + 1 + instruction.jt, at + 1 + instruction.jf] : [at + 1];
}

function isConditional({ code }: Instruction): boolean {
  return code === opcode.jumpIfEqual || code === opcode.jumpIfGreater || code === opcode.jumpIfGreaterOrEqual;
}
