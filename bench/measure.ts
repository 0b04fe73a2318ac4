/**
 * Measuring on a noisy machine: everything that is compared takes turns in one process, round by round, so that whatever
 * disturbs one disturbs the other; medians, and for their ratio an interval from resampling whole rounds.
 */

/** One of the things compared. `sample` gives one value, in the unit of its table. */
export interface Contender {
  readonly name: string;
  sample(): Promise<number>;
}

export interface Summary {
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
}

/** A ratio of medians and the interval that holds it in 95 of 100 resamplings. */
export interface Ratio {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface Turns {
  readonly rounds: number;
  /** Rounds before the first that counts. */
  readonly warmUp: number;
}

const resamplings = 1000;

/** A B C, B C A, C A B, …: nobody always runs after the same neighbour. */
export async function takeTurns(contenders: readonly Contender[], { rounds, warmUp }: Turns): Promise<number[][]> {
  const samples: number[][] = contenders.map(() => []);
  for (let round = -warmUp; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + Math.abs(round)) % contenders.length;
      const value = await contenders[index]?.sample();
      if (round >= 0 && value !== undefined) samples[index]?.push(value);
    }
  }
  return samples;
}

/** A sample that is the time an action takes, in milliseconds. */
export async function duration(action: () => PromiseLike<unknown>): Promise<number> {
  const start = performance.now();
  await action();
  return performance.now() - start;
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = Float64Array.from(samples).sort();
  return { median: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99) };
}

/** Median of `samples` over that of `baseline`. Samples of one round belong together and are resampled together. */
export function ratioOfMedians(samples: readonly number[], baseline: readonly number[]): Ratio {
  const random = generator(samples.length);
  const rounds = Math.min(samples.length, baseline.length);
  const ratios = new Float64Array(resamplings);
  const a = new Float64Array(rounds);
  const b = new Float64Array(rounds);
  for (let i = 0; i < resamplings; i++) {
    for (let j = 0; j < rounds; j++) {
      const round = Math.floor(random() * rounds);
      a[j] = samples[round] ?? 0;
      b[j] = baseline[round] ?? 0;
    }
    ratios[i] = quantile(a.sort(), 0.5) / quantile(b.sort(), 0.5);
  }
  ratios.sort();
  const value = summarize(samples).median / summarize(baseline).median;
  return { value, low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

function quantile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/** The same numbers give the same interval: a linear congruential generator (Numerical Recipes' constants). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
