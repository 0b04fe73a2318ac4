import { describe, expect, it } from 'vitest';
import { bfqWeight, cpuShares } from '../../../../lib/primitives/cgroup/weight.js';

/** The fit as container runtimes compute it, from v1 to v2. */
function weightOfShares(shares: number): number {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const l = Math.log2(shares);
  return Math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34));
}

describe('cpu.shares for a weight', () => {
  it.each([
    [1, 2],
    [100, 1024],
    [10000, 262144],
  ])('of %i is %i', (weight, shares) => {
    expect(cpuShares(weight)).toBe(shares);
  });

  it('comes back as the same weight, for every weight, and never falls', () => {
    let previous = 0;
    for (let weight = 1; weight <= 10000; weight++) {
      const shares = cpuShares(weight);
      expect(weightOfShares(shares)).toBe(weight);
      expect(shares).toBeGreaterThan(previous);
      previous = shares;
    }
  });
});

describe('the BFQ weight', () => {
  it.each([
    [1, 1],
    [50, 50],
    [100, 100],
    [5050, 550],
    [10000, 1000],
  ])('for %i is %i', (weight, bfq) => {
    expect(bfqWeight(weight)).toBe(bfq);
  });
});
