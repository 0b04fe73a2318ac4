/**
 * Weights are on the scale of cgroup v2 (1 to 10000, 100 is the default). These are their places on the older scales.
 */

/**
 * `cpu.shares` (v1: 2 to 262144, default 1024) for a v2 `cpu.weight`. The inverse of the fit that container runtimes agree
 * on, in which the least, the default and the greatest values correspond:
 * `weight = ceil(10 ^ ((l² + 125 l) / 612 - 7 / 34))` with `l = log2(shares)`. Solved for l it is
 * `l = (sqrt(125² + 4 (612 log10(weight) + 126)) - 125) / 2`; the largest shares that give the weight are taken.
 */
export function cpuShares(weight: number): number {
  const l = (Math.sqrt(125 ** 2 + 4 * (612 * Math.log10(weight) + 126)) - 125) / 2;
  // The least amount up, so that 2 ** 10 is 1024 and not 1023.999….
  return Math.floor(2 ** l + 1e-6);
}

/** BFQ's weight (1 to 1000, default 100) for a v2 `io.weight`: the same up to the default, then linear to the greatest. */
export function bfqWeight(weight: number): number {
  return weight <= 100 ? weight : Math.round(100 + ((weight - 100) * 900) / 9900);
}

/** The v2 `cpu.weight` for `cpu.shares`: what {@link cpuShares} is the inverse of. */
export function cpuWeightOf(shares: number): number {
  const l = Math.log2(Math.min(Math.max(shares, 2), 262144));
  // The least amount down, so that a whole result is not taken for a little more than it is.
  return Math.min(Math.max(Math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34) - 1e-9), 1), 10_000);
}

/** The v2 `io.weight` for BFQ's: the inverse of {@link bfqWeight}. */
export function ioWeightOf(weight: number): number {
  return weight <= 100 ? weight : Math.round(100 + ((weight - 100) * 9900) / 900);
}
