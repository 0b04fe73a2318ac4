/**
 * What a registry asks for with 401: the header `WWW-Authenticate` (RFC 9110, section 11.6.1), read strictly. Text that does
 * not fit the grammar as a whole yields no challenge, as a part of it could be read in two ways.
 */

export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** By name in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const longest = 8192;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const quoted = /"((?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*)"/y;
const space = /[ \t]*/y;

/** The challenges of a header, or of several; none if anything in them is malformed. */
export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  const text = typeof header === 'string' ? header : (header ?? []).join(', ');
  if (text.length > longest) return [];
  return new ChallengeReader(text).read() ?? [];
}

class ChallengeReader {
  #at = 0;

  constructor(readonly text: string) {}

  read(): Challenge[] | undefined {
    const found: { scheme: string; parameters: Map<string, string> }[] = [];
    for (;;) {
      this.#skipSeparators();
      if (this.#at === this.text.length) return found;
      const word = this.#match(token)?.[0];
      if (word === undefined) return undefined;
      // `name=` after a comma goes on with the last challenge, anything else begins one.
      const parameters = found.at(-1)?.parameters;
      if (parameters && this.#follows('=')) {
        if (!this.#value(word, parameters)) return undefined;
        continue;
      }
      const next = { scheme: word.toLowerCase(), parameters: new Map<string, string>() };
      found.push(next);
      if (this.#ends()) continue;
      if (this.text[this.#at] !== ' ') return undefined;
      this.#match(space);
      if (this.#ends()) continue;
      const name = this.#match(token)?.[0];
      if (name === undefined || !this.#follows('=') || !this.#value(name, next.parameters)) return undefined;
    }
  }

  /** The value after `name=`, and then the end or a comma. A name that stands twice is malformed. */
  #value(name: string, parameters: Map<string, string>): boolean {
    this.#match(space);
    this.#at++;
    this.#match(space);
    const text = this.#match(quoted)?.[1]?.replace(/\\(.)/g, '$1') ?? this.#match(token)?.[0];
    const key = name.toLowerCase();
    if (text === undefined || parameters.has(key)) return false;
    parameters.set(key, text);
    this.#match(space);
    return this.#ends();
  }

  #ends(): boolean {
    return this.#at === this.text.length || this.text[this.#at] === ',';
  }

  #follows(character: string): boolean {
    space.lastIndex = this.#at;
    const blank = space.exec(this.text)?.[0].length ?? 0;
    return this.text[this.#at + blank] === character;
  }

  #skipSeparators(): void {
    while (this.text[this.#at] === ',' || this.text[this.#at] === ' ' || this.text[this.#at] === '\t') this.#at++;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match) this.#at = pattern.lastIndex;
    return match;
  }
}
