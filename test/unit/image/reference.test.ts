import { describe, expect, it } from 'vitest';
import { ImageError, OptionError } from '../../../lib/errors.js';
import { parseReference } from '../../../lib/image/reference.js';

const digest = `sha256:${'a'.repeat(64)}`;

describe('the name of an image', () => {
  // Written, canonical, familiar.
  it.each([
    ['debian', 'docker.io/library/debian', 'debian'],
    ['debian:12', 'docker.io/library/debian:12', 'debian:12'],
    ['library/debian', 'docker.io/library/debian', 'debian'],
    ['docker.io/debian', 'docker.io/library/debian', 'debian'],
    ['index.docker.io/library/debian', 'docker.io/library/debian', 'debian'],
    ['owner/name', 'docker.io/owner/name', 'owner/name'],
    ['library/a/b', 'docker.io/library/a/b', 'library/a/b'],
    ['localhost/name', 'localhost/name', 'localhost/name'],
    ['localhost:5000/a/b:c', 'localhost:5000/a/b:c', 'localhost:5000/a/b:c'],
    ['localhost:5000', 'docker.io/library/localhost:5000', 'localhost:5000'],
    ['ghcr.io/owner/name@'.concat(digest), `ghcr.io/owner/name@${digest}`, `ghcr.io/owner/name@${digest}`],
    [`debian:12@${digest}`, `docker.io/library/debian:12@${digest}`, `debian:12@${digest}`],
    ['[::1]:5000/x:T', '[::1]:5000/x:T', '[::1]:5000/x:T'],
    ['[2001:db8::1]/x', '[2001:db8::1]/x', '[2001:db8::1]/x'],
    ['192.168.0.1/x', '192.168.0.1/x', '192.168.0.1/x'],
    ['Registry/x', 'Registry/x', 'Registry/x'],
    ['o/a__b.c-d---e/f', 'docker.io/o/a__b.c-d---e/f', 'o/a__b.c-d---e/f'],
    ['x:_tag.-9', 'docker.io/library/x:_tag.-9', 'x:_tag.-9'],
  ])('%s is %s, and %s to people', (text, canonical, familiar) => {
    const reference = parseReference(text);
    expect([reference.toString(), reference.familiar]).toEqual([canonical, familiar]);
    // Both forms mean the same as what was written.
    expect(parseReference(canonical)).toEqual(reference);
    expect(parseReference(familiar)).toEqual(reference);
  });

  it('has its parts', () => {
    expect(parseReference(`h.example:5000/a/b:t@${digest}`)).toMatchObject({
      registry: 'h.example:5000',
      repository: 'a/b',
      tag: 't',
      digest,
      name: 'h.example:5000/a/b',
    });
  });

  it('gets the tag latest only where it says nothing else', () => {
    expect(parseReference('a').withDefaultTag().familiar).toBe('a:latest');
    expect(parseReference('a:b').withDefaultTag().familiar).toBe('a:b');
    expect(parseReference(`a@${digest}`).withDefaultTag().tag).toBeUndefined();
  });

  it.each([
    ['', /it is empty/],
    ['a'.repeat(64), /64 hex digits are an id/],
    ['Debian', /'Debian' has capital letters/],
    ['owner/Name', /capital letters/],
    ['a//b', /'' is not a part/],
    ['/a', /it is a path/],
    ['a/', /'' is not a part/],
    ['docker.io/', /no repository/],
    ['a..b/c', /'a..b' is neither a host name/],
    ['x/a..b', /'a..b' is not a part/],
    ['-a/b', /'-a' is not a part/],
    ['a_/b', /'a_' is not a part/],
    ['a___b', /'a___b' is not a part/],
    ['../x', /it is a path .*Image.load/],
    ['./layout', /it is a path .*Image.open/],
    ['/srv/debian.tar', /it is a path/],
    ['~/debian.tar', /it is a path/],
    ['docker://debian', /write it without docker:/],
    ['h.example/../x', /'..' is not a part/],
    ['a:', /'' is not a tag/],
    ['a:-b', /'-b' is not a tag/],
    ['a:b c', /'b c' is not a tag/],
    [`a:${'b'.repeat(129)}`, /its tag has 129 characters/],
    ['a b', /'a b' is not a part/],
    ['a\n', /is not a part/],
    ['a@', /expected a digest/],
    ['a@sha256:../x', /expected a digest/],
    [`a@${digest}@${digest}`, /expected a digest/],
    [`a@${digest}\n`, /expected a digest/],
    ['h.example:port/a', /'h.example:port' is neither/],
    ['h.example:65536/a', /65536 is not a port/],
    ['h_x.example/a', /'h_x.example' is neither/],
    ['[::g]/a', /'\[::g\]' is neither/],
    ['https://h.example/a', /write it without https:/],
    ['user:secret@h.example/a', /is not the name of an image/],
    [`${'a/'.repeat(127)}ab`, /256 characters/],
    ['a'.repeat(2000), /it has 2000 characters/],
  ])('is not %j', (text, problem) => {
    expect(() => parseReference(text)).toThrow(ImageError);
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'ERR_REFERENCE' }));
    expect(() => parseReference(text)).toThrow(problem);
  });

  it('may be as long as it may', () => {
    expect(parseReference(`h.example/${'a'.repeat(255)}`).repository).toHaveLength(255);
    expect(parseReference(`a:${'b'.repeat(128)}`).tag).toHaveLength(128);
  });

  it.each([undefined, null, 5, {}, ['a']])('that is no text (%j) is a wrong option', (value) => {
    expect(() => parseReference(value, 'pull')).toThrow(OptionError);
    expect(() => parseReference(value, 'pull')).toThrow(/option pull/);
  });
});
