/** Expressions and data as attributes of netlink, by the one table in expressions.ts. Numbers are in the packet's order. */

import { Attributes, type AttributeWriter } from '../netlink/attributes.js';
import { malformed } from '../netlink/error.js';
import { type Data, type Expression, type ExpressionName, expressionAttributes } from './expressions.js';

const listElement = 1;
const expressionAttribute = { NAME: 1, DATA: 2 } as const;
const dataAttribute = { VALUE: 1, VERDICT: 2 } as const;
const verdictAttribute = { CODE: 1, CHAIN: 2 } as const;

/** A list of expressions in an attribute. */
export function writeExpressions(writer: AttributeWriter, type: number, expressions: readonly Expression[]): void {
  writer.nested(type, (list) => {
    for (const expression of expressions) list.nested(listElement, (inside) => writeExpression(inside, expression));
  });
}

/** The name and the data of one expression. */
export function writeExpression(writer: AttributeWriter, expression: Expression): void {
  if (expression.name === 'other') throw new TypeError('an expression that is not known cannot be written');
  writer.string(expressionAttribute.NAME, expression.name);
  writeExpressionData(writer, expressionAttribute.DATA, expression);
}

/** What an expression has besides its name, in an attribute; nothing where it has nothing. */
export function writeExpressionData(writer: AttributeWriter, number: number, expression: Expression): void {
  if (expression.name === 'other') throw new TypeError('an expression that is not known cannot be written');
  const values = expression as Readonly<Record<string, unknown>>;
  const attributes = Object.entries(expressionAttributes[expression.name]);
  if (attributes.length === 0) return;
  writer.nested(number, (inside) => {
    for (const [name, { number: attribute, type }] of attributes) {
      const value = values[name];
      if (value !== undefined) writeValue(inside, attribute, type, value);
    }
  });
}

/** What {@link writeExpressionData} wrote, as the expression of this name. */
export function readExpressionData(name: ExpressionName, inside: Attributes | undefined): Expression {
  const values: Record<string, unknown> = { name };
  for (const [key, { number, type }] of Object.entries(expressionAttributes[name])) {
    const value = inside && readValue(inside, number, type);
    if (value !== undefined) values[key] = value;
  }
  return values as unknown as Expression;
}

function writeValue(writer: AttributeWriter, number: number, type: string, value: unknown): void {
  switch (type) {
    case 'u8':
      writer.u8(number, value as number);
      return;
    case 'u16':
      writer.u16be(number, value as number);
      return;
    case 'u32':
      writer.u32be(number, value as number);
      return;
    case 'u64':
      writer.u64be(number, BigInt(value as number));
      return;
    case 'string':
      writer.string(number, value as string);
      return;
    case 'data':
      writeData(writer, number, value as Data);
      return;
    default:
      writeExpressions(writer, number, value as readonly Expression[]);
      return;
  }
}

export function writeData(writer: AttributeWriter, number: number, data: Data): void {
  writer.nested(number, (inside) => {
    if ('value' in data) {
      inside.binary(dataAttribute.VALUE, data.value);
      return;
    }
    inside.nested(dataAttribute.VERDICT, (verdict) => {
      verdict.u32be(verdictAttribute.CODE, data.verdict >>> 0);
      if (data.chain !== undefined) verdict.string(verdictAttribute.CHAIN, data.chain);
    });
  });
}

export function readExpressions(attributes: Attributes): readonly Expression[] {
  return attributes.each().map(({ value }) => readExpression(new Attributes(value)));
}

export function readExpression(attributes: Attributes): Expression {
  const kind = attributes.string(expressionAttribute.NAME) ?? malformed('an expression without a name');
  if (!isKnown(kind)) return { name: 'other', kind };
  return readExpressionData(kind, attributes.nested(expressionAttribute.DATA));
}

function isKnown(kind: string): kind is ExpressionName {
  return Object.hasOwn(expressionAttributes, kind);
}

function readValue(attributes: Attributes, number: number, type: string): unknown {
  switch (type) {
    case 'u8':
      return attributes.u8(number);
    case 'u16':
      return attributes.u16be(number);
    case 'u32':
      return attributes.u32be(number);
    case 'u64': {
      const value = attributes.u64be(number);
      return value === undefined ? undefined : Number(value);
    }
    case 'string':
      return attributes.string(number);
    case 'data': {
      const inside = attributes.nested(number);
      return inside && readData(inside);
    }
    default: {
      const inside = attributes.nested(number);
      return inside && readExpressions(inside);
    }
  }
}

export function readData(attributes: Attributes): Data {
  const value = attributes.binary(dataAttribute.VALUE);
  if (value !== undefined) return { value: Uint8Array.from(value) };
  const verdict = attributes.nested(dataAttribute.VERDICT);
  const code = verdict?.u32be(verdictAttribute.CODE);
  if (verdict === undefined || code === undefined) malformed('data that is neither a value nor a verdict');
  const chain = verdict.string(verdictAttribute.CHAIN);
  return { verdict: code | 0, ...(chain !== undefined && { chain }) };
}
