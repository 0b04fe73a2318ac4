/** Networks of containers, asked for by an ordinary user. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { OrdinaryUser } from '../../support/ordinary-user.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let user: OrdinaryUser | undefined;
beforeAll(() => {
  if (process.geteuid?.() === 0) user = new OrdinaryUser();
});
afterAll(() => user?.[Symbol.dispose]());

it('a network is refused to an ordinary user, with what there is instead', (context) => {
  OrdinaryUser.needed(context);
  const program = `
    import { Container, Network } from ${user?.library};
    const error = await Network.create().catch((error) => error);
    const none = await Container.run(['true'], { network: 'none' });
    console.log(JSON.stringify([error.name, error.code, error.hint, none.exitCode]));`;
  expect(user?.run(context, program)).toEqual([
    'PermissionError',
    'ERR_PERMISSION',
    "a container without one, network: 'none', takes no privilege",
    0,
  ]);
});
