import { describe, expect, it } from 'vitest';
import { readImageUser } from '../../../lib/container/settings/user.js';
import { imageUser, namedUser, type UserFiles } from '../../../lib/container/users.js';
import { ImageError, OptionError } from '../../../lib/errors.js';

const files: UserFiles = {
  passwd: [
    'root:x:0:0::/root:/bin/sh',
    'web:x:33:34::/srv/web:/bin/sh',
    '1000:x:7:7::/seven:',
    'lost:x:70000:1::/:',
  ].join('\n'),
  group: ['root:x:0:', 'wheel:x:10:root,web', 'www:x:34:', 'adm:x:4:web,other', 'huge:x:65536:web'].join('\n'),
};
const found = (text: string | undefined, from = files) => imageUser(readImageUser(text, 'User'), from);

describe('the user of an image', () => {
  // Docker's rules: an account of that name or id, its groups where no other is named, else group 0.
  it.each([
    [undefined, { uid: 0, gid: 0, groups: [0, 10], home: '/root' }],
    ['root', { uid: 0, gid: 0, groups: [0, 10], home: '/root' }],
    ['web', { uid: 33, gid: 34, groups: [34, 10, 4], home: '/srv/web' }],
    ['33', { uid: 33, gid: 34, groups: [34, 10, 4], home: '/srv/web' }],
    ['web:adm', { uid: 33, gid: 4, groups: [4], home: '/srv/web' }],
    ['33:7', { uid: 33, gid: 7, groups: [7], home: '/srv/web' }],
    ['77:adm', { uid: 77, gid: 4, groups: [4], home: '/' }],
    ['77', { uid: 77, gid: 0, groups: [0], home: '/' }],
    ['77:78', { uid: 77, gid: 78, groups: [78], home: '/' }],
    ['1000', { uid: 1000, gid: 0, groups: [0], home: '/' }],
  ])('%j is who Docker takes it for', (text, identity) => {
    expect(found(text)).toEqual(identity);
  });

  it('needs no files where it is a number', () => {
    expect(found('5', { passwd: '', group: '' })).toEqual({ uid: 5, gid: 0, groups: [0], home: '/' });
  });

  it.each(['nobody', 'lost', 'web:none', '77:huge'])(
    '%s, which the image has not, is an error of its configuration',
    (text) => {
      expect(() => found(text)).toThrow(ImageError);
      expect(() => found(text)).toThrow(/User of the image is not to be had: it has no (account|group)/);
    },
  );

  it.each(['1:', ':1', '', '1:2:3', '01', '-1', '65536', 'a b'])('%j is refused', (text) => {
    expect(() => readImageUser(text, 'User')).toThrow(OptionError);
  });

  it('has a home that is one variable and no more', () => {
    for (const home of ['/x\0LD_PRELOAD=/evil', `/${'x'.repeat(5000)}`, '/a\tb', '']) {
      const passwd = `web:x:33:34::${home}:/bin/sh`;
      expect(found('web', { passwd, group: '' }).home).toBe('/');
      expect(namedUser({ kind: 'name', user: 'web' }, { passwd, group: '' }).home).toBe('/');
    }
    expect(found('web', { passwd: 'web:x:33:34::/kept:', group: '' }).home).toBe('/kept');
  });

  it('is found among lines that are no entries', () => {
    const passwd = ['', '#web:x:1:1::/', 'web', ':::::', `${'x'.repeat(100_000)}`, 'web:x:y:z', files.passwd].join(
      '\n',
    );
    // The first line of that name decides, as in passwd(5).
    expect(() => found('web', { passwd, group: '' })).toThrow(ImageError);
    expect(found('33', { passwd, group: '' })).toMatchObject({ uid: 33, gid: 34 });
  });
});
