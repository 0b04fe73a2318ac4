/** What must not be read by chance: a password, a token. It prints as redacted wherever it ends up (row M9). */

import { inspect } from 'node:util';

const shown = '<redacted>';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself, for the one header or body that it is meant for. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }

  [inspect.custom](): string {
    return shown;
  }
}
