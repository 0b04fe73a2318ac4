/**
 * Names of images as people write them, `debian:12` or `ghcr.io/owner/name@sha256:…`: Docker's grammar (distribution's
 * `reference` package), its defaults, and its two forms. The canonical form says everything; the familiar one is what a
 * person would have written.
 */

import { ImageError, OptionError } from '../errors.js';
import { type Digest, parseDigest } from './digest.js';

const defaultRegistry = 'docker.io';
/** An older name of Docker's registry, which means the same. */
const oldDefaultRegistry = 'index.docker.io';
const officialNamespace = 'library/';
const defaultTag = 'latest';
/** Bytes of `repository`, without the registry. */
const longestRepository = 255;

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const repositoryGrammar = new RegExp(`^${component}(?:/${component})*$`);
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const registryGrammar = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::([0-9]+))?$`);
const tagGrammar = /^\w[\w.-]{0,127}$/;
/** What Docker takes for the id of an image, never for a name. */
const identifierGrammar = /^[a-f0-9]{64}$/;

interface Parts {
  readonly registry: string;
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

/** A parsed name of an image; made by {@link parseReference}. */
export class Reference {
  /** Where it is kept, such as `docker.io`, `localhost:5000` or `[::1]:5000`. */
  readonly registry: string;
  /** The path there, such as `library/debian`. */
  readonly repository: string;
  readonly tag: string | undefined;
  /** Which bytes are meant. With it, a tag says nothing more. */
  readonly digest: Digest | undefined;

  /** @internal */
  constructor(parts: Parts) {
    this.registry = parts.registry;
    this.repository = parts.repository;
    this.tag = parts.tag;
    this.digest = parts.digest;
    Object.freeze(this);
  }

  /** Registry and repository: `docker.io/library/debian`. */
  get name(): string {
    return `${this.registry}/${this.repository}`;
  }

  /** What a person would write: `debian:12` for `docker.io/library/debian:12`. */
  get familiar(): string {
    return `${familiarName(this)}${this.#suffix()}`;
  }

  /** This one, with the tag `latest` if it has neither tag nor digest. */
  withDefaultTag(): Reference {
    if (this.tag !== undefined || this.digest !== undefined) return this;
    return new Reference({ registry: this.registry, repository: this.repository, tag: defaultTag, digest: undefined });
  }

  /** The canonical form, with everything that there is: `docker.io/library/debian:12`. */
  toString(): string {
    return `${this.name}${this.#suffix()}`;
  }

  #suffix(): string {
    return `${this.tag === undefined ? '' : `:${this.tag}`}${this.digest === undefined ? '' : `@${this.digest}`}`;
  }
}

/**
 * Takes the name of an image: `[registry/]repository[:tag][@digest]`. Without a registry it is `docker.io`, where a name of
 * one part is below `library/`. A first part is a registry if it is `localhost`, or has a dot, a colon or a capital letter.
 * No tag is added: see {@link Reference.withDefaultTag}.
 * @param option whose value it is, for the error
 * @throws OptionError if it is no text; ImageError `ERR_REFERENCE` naming what is wrong with it
 */
export function parseReference(text: unknown, option = 'image'): Reference {
  if (typeof text !== 'string') {
    throw new OptionError(option, "the name of an image, such as 'debian:12' or 'ghcr.io/owner/name:tag'", text);
  }
  const refuse = (problem: string, hint?: string, cause?: unknown): ImageError =>
    new ImageError('ERR_REFERENCE', `${option}: '${shown(text)}' is not the name of an image: ${problem}`, {
      hint,
      cause,
    });

  if (text === '') throw refuse('it is empty');
  if (/^(~|\.{0,2})\//.test(text)) {
    throw refuse('it is a path', 'a directory in OCI’s form is for Image.open, an archive for Image.load');
  }
  const scheme = /^[a-z-]+:\/\//.exec(text)?.[0];
  if (scheme !== undefined) throw refuse('it is an address', `write it without ${scheme}`);
  if (text.length > 1024) throw refuse(`it has ${text.length} characters`);
  if (identifierGrammar.test(text)) {
    throw refuse('64 hex digits are an id', `to name content, write repository@sha256:${text.slice(0, 12)}…`);
  }
  const [beforeDigest, digestText] = cut(text, text.indexOf('@'));
  // A colon belongs to a tag only after the last slash: before that it begins a port.
  const colon = beforeDigest.indexOf(':', beforeDigest.lastIndexOf('/') + 1);
  const [path, tag] = cut(beforeDigest, colon);
  const { registry, repository } = splitRegistry(path);

  checkRegistry(registry, refuse);
  checkRepository(repository, refuse);
  if (tag !== undefined && !tagGrammar.test(tag)) {
    throw refuse(
      tag.length > 128
        ? `its tag has ${tag.length} characters, and at most 128 are allowed`
        : `'${shown(tag)}' is not a tag, which is of letters, digits, '_', '.' and '-', and begins with neither of the last two`,
    );
  }
  try {
    const digest = digestText === undefined ? undefined : parseDigest(digestText, 'after @');
    return new Reference({ registry, repository, tag, digest });
  } catch (cause) {
    throw refuse(cause instanceof Error ? cause.message : String(cause), undefined, cause);
  }
}

type Refuse = (problem: string, hint?: string) => ImageError;

function splitRegistry(path: string): { registry: string; repository: string } {
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(0, slash));
  const isRegistry = slash >= 0 && (first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first);
  const named = isRegistry ? first : defaultRegistry;
  const rest = isRegistry ? path.slice(slash + 1) : path;
  const registry = named === oldDefaultRegistry ? defaultRegistry : named;
  const official = registry === defaultRegistry && !rest.includes('/');
  return { registry, repository: official ? `${officialNamespace}${rest}` : rest };
}

function checkRegistry(registry: string, refuse: Refuse): void {
  const match = registryGrammar.exec(registry);
  if (!match) throw refuse(`'${shown(registry)}' is neither a host name nor an address, with or without a port`);
  // Stricter than Docker, for whom any digits are a port: there is none to connect to.
  if (match[1] !== undefined && Number(match[1]) > 65535) throw refuse(`${shown(match[1])} is not a port`);
}

function checkRepository(repository: string, refuse: Refuse): void {
  const written = repository.startsWith(officialNamespace) ? repository.slice(officialNamespace.length) : repository;
  if (written === '') throw refuse('there is no repository');
  if (repository.length > longestRepository) {
    throw refuse(`its repository has ${repository.length} characters, and at most ${longestRepository} are allowed`);
  }
  if (/[A-Z]/.test(repository)) throw refuse(`the repository '${shown(written)}' has capital letters`);
  if (!repositoryGrammar.test(repository)) {
    const part = written.split('/').find((each) => !repositoryGrammar.test(each)) ?? written;
    throw refuse(
      `'${shown(part)}' is not a part of a repository, which is of small letters and digits, with '.', '_', '__' or '-' between them`,
    );
  }
}

function familiarName({ registry, repository, name }: Reference): string {
  if (registry !== defaultRegistry) return name;
  const short = repository.startsWith(officialNamespace) ? repository.slice(officialNamespace.length) : repository;
  return short.includes('/') ? repository : short;
}

/** The text before a position and after it; all of it where the position is negative. */
function cut(text: string, position: number): [string, string | undefined] {
  return position < 0 ? [text, undefined] : [text.slice(0, position), text.slice(position + 1)];
}

function shown(text: string): string {
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}
