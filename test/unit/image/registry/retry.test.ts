import { describe, expect, it } from 'vitest';
import { parseRetryAfter, statusFailure, TransientError } from '../../../../lib/image/registry/failure.js';
import { backoff, retrying } from '../../../../lib/image/registry/retry.js';

const never = new AbortController().signal;
const passes = (retryAfter = 0) => new TransientError('ERR_REGISTRY', 'x', { status: 503 }, retryAfter);

describe('another attempt', () => {
  it('waits twice as long each time, at least half of it, and never very long', () => {
    expect([1, 2, 3].map((number) => backoff(number, 1))).toEqual([200, 400, 800]);
    expect([1, 2, 3].map((number) => backoff(number, 0))).toEqual([100, 200, 400]);
    expect(backoff(60, 1)).toBe(20_000);
  });

  it('is made as often as was said, and only of what passes', async () => {
    const counted = async (error: Error, most: number) => {
      let count = 0;
      const failing = retrying(most, never, async () => {
        count++;
        throw error;
      });
      await expect(failing).rejects.toBe(error);
      return count;
    };
    expect(await counted(passes(), 2)).toBe(3);
    expect(await counted(passes(), 0)).toBe(1);
    expect(await counted(new Error('no'), 5)).toBe(1);
  });

  it('is given up when its signal is', async () => {
    const controller = new AbortController();
    const waiting = retrying(5, controller.signal, () => Promise.reject(passes(60_000)));
    setTimeout(() => controller.abort(), 20);
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });
});

describe('Retry-After', () => {
  it('is seconds or a date, bounded', () => {
    expect(parseRetryAfter('3')).toBe(3000);
    expect(parseRetryAfter('99999')).toBe(120_000);
    const now = Date.parse('2026-01-01T00:00:00Z');
    expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:05 GMT', now)).toBe(5000);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:00:05 GMT', now)).toBe(0);
    expect(parseRetryAfter('soon')).toBeUndefined();
    expect(parseRetryAfter(undefined)).toBeUndefined();
  });
});

describe('an answer that is no success', () => {
  it('has a code, what the registry said, and may pass or not', () => {
    const said = Buffer.from('{"errors":[{"code":"DENIED","message":"no \\u001b[31m"}]}');
    const failure = statusFailure(403, 'doing it', said, undefined);
    expect(failure).toMatchObject({ code: 'ERR_UNAUTHORIZED', status: 403 });
    expect(failure.message).toContain('DENIED: no \\x1b[31m');
    expect(statusFailure(404, 'x', Buffer.from('null'), undefined)).toMatchObject({ code: 'ERR_NOT_FOUND' });
    for (const status of [429, 500, 503]) expect(statusFailure(status, 'x', said, '1')).toBeInstanceOf(TransientError);
    for (const status of [400, 404, 501])
      expect(statusFailure(status, 'x', said, '1')).not.toBeInstanceOf(TransientError);
  });
});
