/** Descriptors: what one document says of the content that another has (OCI image-spec, descriptor.md). */

import type { Digest } from '../digest.js';
import { normalized, type Platform } from '../platform.js';
import {
  expected,
  type Fields,
  optionalFields,
  optionalText,
  optionalTexts,
  place,
  readFields,
  refuse,
  requiredDigest,
  type Source,
} from './json.js';

/** What and how large some content is, and its digest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** What an image is for, in an index. */
  readonly platform?: Platform;
  /** For people and tools; steers nothing here but the choice of an image by its name. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** RFC 6838, section 4.2. */
const mediaTypeGrammar = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;
const names = ['mediaType', 'digest', 'size', 'platform', 'annotations'];

/** `urls` and `data` of a descriptor are not read: content comes from where the document came from, under its digest. */
export function readDescriptor(value: unknown, source: Source, at: string): Descriptor {
  const fields = readFields(value, source, at, names);
  const platform = readPlatform(fields);
  const annotations = optionalTexts(fields, 'annotations');
  return {
    mediaType: requiredMediaType(fields),
    digest: requiredDigest(fields, 'digest'),
    size: requiredSize(fields),
    ...(platform && { platform }),
    ...(annotations && { annotations }),
  };
}

function requiredSize(fields: Fields): number {
  const value = fields.values.get('size');
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw expected(fields.source, place(fields.at, 'size'), 'a whole number of bytes', value);
  }
  return value;
}

/** The media type that a document has itself. */
export function optionalMediaType(fields: Fields): string | undefined {
  const value = optionalText(fields, 'mediaType', 255);
  if (value !== undefined && !mediaTypeGrammar.test(value)) {
    throw refuse(fields.source, `${place(fields.at, 'mediaType')} is no media type`);
  }
  return value;
}

function requiredMediaType(fields: Fields): string {
  const value = optionalMediaType(fields);
  if (value === undefined) {
    throw expected(fields.source, place(fields.at, 'mediaType'), 'a media type', fields.values.get('mediaType'));
  }
  return value;
}

function readPlatform(fields: Fields): Platform | undefined {
  const inner = optionalFields(fields, 'platform', ['os', 'architecture', 'variant']);
  if (!inner) return undefined;
  const os = optionalText(inner, 'os', 64);
  const architecture = optionalText(inner, 'architecture', 64);
  // An index of one image may say nothing in it, as umoci's does.
  if (!os || !architecture) return undefined;
  return normalized(os, architecture, optionalText(inner, 'variant', 64));
}
