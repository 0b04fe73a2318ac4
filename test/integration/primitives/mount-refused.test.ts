import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { UnsupportedError } from '../../../lib/errors.js';
import { BindMount } from '../../../lib/primitives/mount/index.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

describe('a mount that the kernel refuses', () => {
  checkResidue();

  it('is a rejection that is handled where it is awaited, and no other', async (context) => {
    needsRoot(context);
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    const idMap = [{ inside: 0, outside: 1000, count: 1 }];
    // No kernel shifts ids of procfs.
    await expect(BindMount.create({ source: '/proc', idMap })).rejects.toBeInstanceOf(UnsupportedError);
    await wait(20);
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });
});
