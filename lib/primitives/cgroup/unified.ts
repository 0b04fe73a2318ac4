/** Files of the v2 directory as text: for what is newer than this library. */

import { copyObject, optionName, readText } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import type { CgroupLayout, Controller } from './layout.js';
import type { Placement } from './placement.js';

const mostText = 4096;

/** Any file of a cgroup's v2 directory. */
export class UnifiedFiles {
  readonly #placement: Placement;

  /** @internal */
  constructor(placement: Placement) {
    this.#placement = placement;
  }

  /** What the file says, undefined where there is none. */
  get(file: string): Promise<string | undefined> {
    return this.#placement.needUnified('read files of').read(file);
  }

  /** Writes values as they are. Files that move or end processes are refused; there are methods for those. */
  async set(values: Readonly<Record<string, string>>): Promise<void> {
    const checked = UnifiedFiles.check(values);
    const directory = this.#placement.needUnified('write files of');
    for (const [file, value] of checked) {
      const controller = controllerOf(this.#placement.layout, file);
      if (controller) await this.#placement.enable(controller);
      await directory.write(file, value);
    }
  }

  /** @internal */
  static check(values: unknown): readonly (readonly [file: string, value: string])[] {
    return Object.entries(copyObject(values, 'unified')).map(([file, value]) => {
      const option = optionName('unified', file);
      if (!/^[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)+$/.test(file) || file.length > 100) {
        throw new OptionError(option, "a file of cgroup v2, such as 'memory.high'", file);
      }
      if (
        file.startsWith('cgroup.') &&
        !['cgroup.max.depth', 'cgroup.max.descendants', 'cgroup.pressure'].includes(file)
      ) {
        throw new OptionError(option, 'a file of a controller', file, {
          hint: 'attach(), kill(), freeze() and child() write the others',
        });
      }
      const text = readText(value, option, 'text');
      if (text.length > mostText) throw new OptionError(option, `at most ${mostText} characters`, value);
      return [file, text] as const;
    });
  }
}

/** The controller that a file belongs to, where the v2 tree has it. */
function controllerOf(layout: CgroupLayout, file: string): Controller | undefined {
  const tree = layout.hierarchies.find(({ version }) => version === 2);
  return tree?.controllers.find((controller) => file.startsWith(`${controller}.`));
}
