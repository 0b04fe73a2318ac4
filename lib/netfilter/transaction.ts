/**
 * What is done together: everything of a transaction takes effect at one moment, or nothing does. The functions here only
 * write down what is to be done; it is compiled and sent when all of it is known.
 */

import { OptionError } from '../errors.js';
import type { NetlinkRequest } from '../netlink/socket.js';
import { type AnonymousSet, anonymousMapName, anonymousSetName, familyNetwork, type RuleContext } from './compile.js';
import { compileStatements, objectExpression } from './compile-statements.js';
import { rawElements, type SetShape } from './elements.js';
import { type Expression, objectTypes } from './expressions.js';
import {
  changeElements,
  deleteChain,
  deleteObject,
  deleteRule,
  deleteSet,
  deleteTable,
  flushElements,
  newChain,
  newFlag,
  newObject,
  newRule,
  newSet,
  newTable,
  type Place,
  setFlag,
  tableFlag,
} from './messages.js';
import { readChain, readElements, readFamily, readHandle, readName, readRule, readSet, readTable } from './options.js';
import type {
  ChainOptions,
  ElementOptions,
  Family,
  NamedObject,
  RuleOptions,
  SetOptions,
  Table,
  TableOptions,
} from './ruleset.js';
import type { Statement } from './statement.js';

/** Shapes of sets by table and name. */
export type KnownShapes = Map<string, Map<string, SetShape>>;

export function tableKey({ family, table }: Place): string {
  return `${family} ${table}`;
}

/** What compiling one operation may use. */
interface Compiling {
  readonly shapes: KnownShapes;
  nextSetId(): number;
}

type Operation = (compiling: Compiling) => readonly NetlinkRequest[];

/** The parts of a transaction, in their order. */
export class Transaction {
  readonly #operations: Operation[] = [];
  /** Tables whose sets may have to be asked for. */
  readonly #used = new Map<string, Place>();
  #closed = false;

  /**
   * A table: it is made if there is none of that name, and what there is stays.
   * @throws OptionError
   */
  table(family: Family, name: string, options?: TableOptions): TableChanges {
    const place = this.#place(family, name);
    const settings = readTable(options, 'options');
    const flags = (settings.dormant ? tableFlag.DORMANT : 0) | (settings.owner ? tableFlag.OWNER : 0);
    const kind = newFlag.CREATE | (settings.exclusive ? newFlag.EXCL : 0);
    this.#add(() => [
      newTable(place, { flags, comment: settings.comment }, kind, `adding the table ${family} ${name}`),
    ]);
    return this.#changes(place);
  }

  /** A table that is there already. */
  existing(family: Family, name: string): TableChanges {
    return this.#changes(this.#place(family, name));
  }

  /** Removes a table with all that is in it. That there is none is an error. */
  remove(family: Family, name: string): void {
    const place = this.#place(family, name);
    this.#add(({ shapes }) => {
      shapes.set(tableKey(place), new Map());
      return [deleteTable(place, `removing the table ${family} ${name}`)];
    });
  }

  /**
   * A table with exactly this in it, as `list()` reads it or as it is written by hand; what was there is gone. Handles,
   * owners and what was left of times are not taken over.
   */
  replace(table: TableContents, options?: TableOptions): TableChanges {
    const { family, name } = table;
    this.table(family, name);
    this.remove(family, name);
    const settings = {
      ...(table.comment !== undefined && { comment: table.comment }),
      dormant: table.dormant ?? false,
    };
    const changes = this.table(family, name, { ...settings, ...options });
    fill(changes, table);
    return changes;
  }

  /** @internal The requests, once all is known. */
  compile(shapes: KnownShapes): readonly NetlinkRequest[] {
    let last = 0;
    const compiling: Compiling = { shapes, nextSetId: () => ++last };
    return this.#operations.flatMap((operation) => operation(compiling));
  }

  /** @internal */
  get places(): readonly Place[] {
    return [...this.#used.values()];
  }

  /** @internal Nothing can be added any more. */
  close(): void {
    this.#closed = true;
  }

  #place(family: Family, name: string): Place {
    return { family: readFamily(family, 'family'), table: readName(name, 'name') };
  }

  #changes(place: Place): TableChanges {
    this.#used.set(tableKey(place), place);
    return new TableChanges(place, (operation) => this.#add(operation));
  }

  #add(operation: Operation): void {
    if (this.#closed) throw new OptionError('transaction', 'one that goes on', 'one that has ended');
    this.#operations.push(operation);
  }
}

/** A table as data, with what cannot be chosen left out. */
export type TableContents = Pick<Table, 'family' | 'name'> &
  Partial<Pick<Table, 'dormant' | 'comment' | 'objects'>> & {
    readonly chains?: readonly (Omit<Table['chains'][number], 'handle' | 'rules'> & {
      readonly rules?: readonly { readonly statements: readonly Statement[]; readonly comment?: string }[];
    })[];
    readonly sets?: readonly (SetOptions & { readonly name: string })[];
  };

/** Maps may lead to chains and rules to maps: first all chains, then all sets, then rules. */
function fill(changes: TableChanges, table: TableContents): void {
  for (const { name, handle: _, ...object } of (table.objects ?? []) as (NamedObject & {
    name: string;
    handle?: number;
  })[]) {
    changes.object(name, object as NamedObject);
  }
  for (const { name, base, comment } of table.chains ?? []) {
    changes.chain(name, { ...(base && { base }), ...(comment !== undefined && { comment }) });
  }
  for (const { name, handle: _, ...set } of (table.sets ?? []) as (SetOptions & { name: string; handle?: number })[])
    changes.set(name, set);
  for (const { name, rules } of table.chains ?? []) {
    const chain = changes.existingChain(name);
    for (const { statements, comment } of rules ?? []) chain.rule(statements, comment === undefined ? {} : { comment });
  }
}

/** What is to be done in a table. */
export class TableChanges {
  readonly #place: Place;
  readonly #add: (operation: Operation) => void;

  /** @internal */
  constructor(place: Place, add: (operation: Operation) => void) {
    this.#place = place;
    this.#add = add;
  }

  /** A chain: it is made if there is none of that name. A policy that is given is set. */
  chain(name: string, options?: ChainOptions): ChainChanges {
    const place = this.#place;
    readName(name, 'name');
    const { hook, comment } = readChain(place.family, options, 'options');
    this.#add(() => [newChain(place, name, hook, comment, newFlag.CREATE, `adding the chain ${at(place, name)}`)]);
    return this.existingChain(name);
  }

  /** A chain that is there already. */
  existingChain(name: string): ChainChanges {
    return new ChainChanges(this.#place, readName(name, 'name'), this.#add);
  }

  /** A set, or with `map` a map, with its elements. */
  set(name: string, options: SetOptions): SetChanges {
    const place = this.#place;
    readName(name, 'name');
    const { elements, ...spec } = readSet(options, 'options');
    this.#add((compiling) => {
      shapesOf(compiling, place).set(name, spec.shape);
      const id = compiling.nextSetId();
      const doing = `adding the set ${at(place, name)}`;
      return [
        newSet(place, { ...spec, name, id }, newFlag.CREATE, doing),
        ...(elements.length === 0
          ? []
          : changeElements(
              'NEWSETELEM',
              place,
              { name, id },
              rawElements(spec.shape, elements, 'options.elements'),
              newFlag.CREATE,
              `adding elements to ${at(place, name)}`,
            )),
      ];
    });
    return this.existingSet(name);
  }

  /** A set that is there already. */
  existingSet(name: string): SetChanges {
    return new SetChanges(this.#place, readName(name, 'name'), this.#add);
  }

  /** A counter, quota or limit with a name, which several rules can use. */
  object(name: string, object: NamedObject): void {
    const place = this.#place;
    readName(name, 'name');
    const expression = objectExpression(object, 'object');
    this.#add(() => [
      newObject(
        place,
        name,
        objectTypes[object.kind],
        expression,
        newFlag.CREATE,
        `adding the ${object.kind} ${at(place, name)}`,
      ),
    ]);
  }

  removeObject(kind: NamedObject['kind'], name: string): void {
    const place = this.#place;
    readName(name, 'name');
    this.#add(() => [deleteObject(place, name, objectTypes[kind], `removing the ${kind} ${at(place, name)}`)]);
  }

  /** Removes all rules of all chains. */
  flush(): void {
    const place = this.#place;
    this.#add(() => [
      deleteRule(place, undefined, undefined, `removing all rules of the table ${place.family} ${place.table}`),
    ]);
  }

  /** Removes the table with all that is in it. */
  remove(): void {
    const place = this.#place;
    this.#add((compiling) => {
      compiling.shapes.set(tableKey(place), new Map());
      return [deleteTable(place, `removing the table ${place.family} ${place.table}`)];
    });
  }
}

function at({ family, table }: Place, name: string): string {
  return `${family} ${table} ${name}`;
}

function shapesOf({ shapes }: Compiling, place: Place): Map<string, SetShape> {
  const key = tableKey(place);
  const known = shapes.get(key) ?? new Map<string, SetShape>();
  shapes.set(key, known);
  return known;
}

/** What is to be done in a chain. */
export class ChainChanges {
  readonly #place: Place;
  readonly #name: string;
  readonly #add: (operation: Operation) => void;
  #rules = 0;

  /** @internal */
  constructor(place: Place, name: string, add: (operation: Operation) => void) {
    this.#place = place;
    this.#name = name;
    this.#add = add;
  }

  /**
   * A rule. Its statements are done in their order, until one does not hold.
   * @throws OptionError when the transaction is committed, for statements that make no sense
   */
  rule(statements: readonly Statement[], options?: RuleOptions): this {
    const { comment, position, before } = readRule(options, 'options');
    const flags = newFlag.CREATE | (before ? 0 : newFlag.APPEND);
    return this.#rule(statements, flags, { comment, position }, `adding the rule ${++this.#rules}`);
  }

  /** Another rule in the place of the one with this handle. */
  replaceRule(handle: number, statements: readonly Statement[], options?: Pick<RuleOptions, 'comment'>): this {
    const { comment } = readRule(options, 'options');
    const replaces = readHandle(handle, 'handle');
    return this.#rule(statements, newFlag.REPLACE, { comment, replaces }, `replacing the rule ${handle}`);
  }

  removeRule(handle: number): this {
    readHandle(handle, 'handle');
    return this.#do((place, name) => [
      deleteRule(place, name, handle, `removing the rule ${handle} of the chain ${at(place, name)}`),
    ]);
  }

  /** Removes all rules. */
  flush(): this {
    return this.#do((place, name) => [
      deleteRule(place, name, undefined, `removing the rules of the chain ${at(place, name)}`),
    ]);
  }

  /** Removes the chain with its rules. That something leads to it is an error. */
  remove(): void {
    this.flush();
    this.#do((place, name) => [deleteChain(place, name, `removing the chain ${at(place, name)}`)]);
  }

  #rule(
    statements: readonly Statement[],
    flags: number,
    spec: { comment: string | undefined; position?: number | undefined; replaces?: number },
    what: string,
  ): this {
    const copy = structuredClone(statements);
    return this.#do((place, name, compiling) => {
      const doing = `${what} of the chain ${at(place, name)}`;
      const { expressions, anonymous } = compileRule(place, copy, compiling, doing);
      const sets = anonymous.flatMap((set) => anonymousRequests(place, set, doing));
      return [...sets, newRule(place, name, { expressions, ...spec }, flags, doing)];
    });
  }

  #do(operation: (place: Place, name: string, compiling: Compiling) => readonly NetlinkRequest[]): this {
    const place = this.#place;
    const name = this.#name;
    this.#add((compiling) => operation(place, name, compiling));
    return this;
  }
}

function compileRule(
  place: Place,
  statements: readonly Statement[],
  compiling: Compiling,
  doing: string,
): { readonly expressions: readonly Expression[]; readonly anonymous: readonly AnonymousSet[] } {
  const context: RuleContext = {
    family: place.family,
    sets: shapesOf(compiling, place),
    expressions: [],
    anonymous: [],
    nextSetId: compiling.nextSetId,
    network: familyNetwork(place.family),
  };
  if (!Array.isArray(statements))
    throw new OptionError('statements', 'a list of statements', statements, { cause: doing });
  compileStatements(context, statements, 'statements');
  return context;
}

function anonymousRequests(place: Place, set: AnonymousSet, doing: string): readonly NetlinkRequest[] {
  const { id, shape, entries, option } = set;
  const name = shape.data ? anonymousMapName : anonymousSetName;
  const spec = { name, id, shape, flags: setFlag.ANONYMOUS | setFlag.CONSTANT, size: entries.length };
  // nft counts the ends of ranges too.
  const elements = rawElements(shape, entries, option);
  return [
    newSet(place, { ...spec, size: elements.length }, newFlag.CREATE, doing),
    ...changeElements('NEWSETELEM', place, { name, id }, elements, newFlag.CREATE, doing),
  ];
}

/** What is to be done in a set. */
export class SetChanges {
  readonly #place: Place;
  readonly #name: string;
  readonly #add: (operation: Operation) => void;

  /** @internal */
  constructor(place: Place, name: string, add: (operation: Operation) => void) {
    this.#place = place;
    this.#name = name;
    this.#add = add;
  }

  /** Puts elements in. Those that are there already stay as they are. */
  add(...elements: readonly ElementOptions[]): this {
    return this.#change('NEWSETELEM', elements, newFlag.CREATE, 'adding elements to');
  }

  /** Takes elements out. That one is not there is an error. */
  delete(...elements: readonly ElementOptions[]): this {
    return this.#change('DELSETELEM', elements, 0, 'removing elements from');
  }

  /** Takes all elements out. */
  flush(): this {
    const place = this.#place;
    const name = this.#name;
    this.#add(() => [flushElements(place, name, `emptying ${at(place, name)}`)]);
    return this;
  }

  /** Removes the set. That a rule uses it is an error. */
  remove(): void {
    const place = this.#place;
    const name = this.#name;
    this.#add((compiling) => {
      shapesOf(compiling, place).delete(name);
      return [deleteSet(place, name, `removing the set ${at(place, name)}`)];
    });
  }

  #change(
    message: 'NEWSETELEM' | 'DELSETELEM',
    elements: readonly ElementOptions[],
    flags: number,
    verb: string,
  ): this {
    const place = this.#place;
    const name = this.#name;
    const copy = structuredClone(elements);
    this.#add((compiling) => {
      const shape = shapesOf(compiling, place).get(name);
      if (!shape) throw new OptionError('name', `the name of a set of the table ${place.family} ${place.table}`, name);
      const isDeleting = message === 'DELSETELEM';
      const entries = readElements(isDeleting ? withoutData(shape) : shape, copy, 'elements');
      if (entries.length === 0) return [];
      return changeElements(
        message,
        place,
        { name },
        rawElements(shape, entries, 'elements'),
        flags,
        `${verb} ${at(place, name)}`,
      );
    });
    return this;
  }
}

/** Elements are taken out by their value alone. */
function withoutData({ key, intervals }: SetShape): SetShape {
  return { key, intervals };
}
