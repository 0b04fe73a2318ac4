import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  createFlag,
  detail,
  execFlag,
  fileOperation,
  mapMode,
  message,
  stage,
} from '../../../lib/launcher/protocol.js';
import { stepOp } from '../../../lib/plan/encode.js';

/** The constants of one enum of the C sources: `{ HELLO: 11, … }`, without the enum's common prefix. */
function cEnum(file: string, name: string, prefix: string): Record<string, number> {
  const source = readFileSync(new URL(`../../../native/launcher/${file}`, import.meta.url), 'utf8');
  const body = new RegExp(`enum ${name} \\{(.*?)\\n\\};`, 's').exec(source)?.[1] ?? '';
  const pairs = [...body.matchAll(/^\s*([A-Z_]+) =\s+(\d+)/gm)];
  return Object.fromEntries(pairs.map(([, constant = '', number]) => [constant.slice(prefix.length), Number(number)]));
}

describe('the numbers of the protocol', () => {
  it.each([
    ['messages', message, cEnum('protocol.h', 'message_op', 'MSG_')],
    ['stages of a creation', stage, cEnum('protocol.h', 'create_stage', 'STAGE_')],
    ['flags of an exec', execFlag, cEnum('protocol.h', 'exec_flags', 'EXEC_')],
    ['modes of id maps', mapMode, cEnum('protocol.h', 'map_mode', 'MAP_')],
    ['flags of a creation', createFlag, cEnum('protocol.h', 'create_flags', 'CREATE_')],
    ['details of a failure', detail, cEnum('steps.h', 'failure_detail', 'DETAIL_')],
    ['file operations', fileOperation, cEnum('file.c', 'file_op', 'FILE_')],
  ])('%s are the same in TypeScript and in C', (_, ours, native) => {
    expect(Object.keys(native)).not.toHaveLength(0);
    expect(native).toMatchObject(ours);
  });

  it('steps are the same in TypeScript and in C', () => {
    // Some kinds of step are special cases of another, and have its number.
    const calls: Readonly<Record<string, string>> = {
      fsconfigCreate: 'FSCONFIG',
      noNewPrivs: 'PRCTL',
      parentDeathSignal: 'PRCTL',
      keepCapabilities: 'PRCTL',
      coreScheduling: 'PRCTL',
      writeKernelFile: 'WRITE_FILE',
    };
    const constant = (kind: string) => calls[kind] ?? kind.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
    const ours = Object.fromEntries(Object.entries(stepOp).map(([kind, number]) => [constant(kind), number]));
    expect(cEnum('protocol.h', 'step_op', 'STEP_')).toMatchObject(ours);
  });
});
