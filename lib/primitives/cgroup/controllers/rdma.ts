/** The rdma controller: handles and objects of RDMA devices. Both versions have the same files. */

import { defineSchema, readInteger, readList, readObject } from '../../../container/settings/schema.js';
import { OptionError } from '../../../errors.js';
import { known, nestedOf } from '../text.js';
import { type ControllerKind, Writes } from './controller.js';

export interface RdmaSettings {
  readonly max?: readonly RdmaMax[];
}

/** The limits of one device. What is absent stays as it is. */
export interface RdmaMax {
  /** Such as `mlx5_0`. */
  readonly device: string;
  readonly handles?: number | 'max';
  readonly objects?: number | 'max';
}

const schema = defineSchema(['max']);
const maxSchema = defineSchema(['device', 'handles', 'objects']);
const mostDevices = 64;

function readMax(value: unknown, option: string): RdmaMax {
  const { device, handles, objects } = readObject(value, option, maxSchema);
  if (typeof device !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(device)) {
    throw new OptionError(`${option}.device`, "the name of an RDMA device, such as 'mlx5_0'", device);
  }
  const limit = (number: unknown, key: string): number | 'max' | undefined =>
    number === undefined || number === 'max' ? number : readInteger(number, `${option}.${key}`, 0, 2 ** 31 - 1);
  return known<RdmaMax>({ device, handles: limit(handles, 'handles'), objects: limit(objects, 'objects') });
}

/** The controller, for {@link CgroupV2.rdma}. */
export const rdma: ControllerKind<RdmaSettings, RdmaSettings> = {
  name: 'rdma',
  parse(settings, option) {
    const { max } = readObject(settings, option, schema);
    if (max === undefined) return {};
    const list = readList(max, `${option}.max`, 'an array, one element for each device', mostDevices);
    return { max: list.map((element, index) => readMax(element, `${option}.max[${index}]`)) };
  },
  writes({ max = [] }) {
    const writes = new Writes('rdma');
    for (const { device, handles, objects } of max) {
      const given = Object.entries({ hca_handle: handles, hca_object: objects }).filter(
        ([, limit]) => limit !== undefined,
      );
      if (given.length > 0)
        writes.add('rdma.max', [device, ...given.map(([key, limit]) => `${key}=${limit}`)].join(' '));
    }
    return writes.list;
  },
  onlyUnified: [],
  files: () => ['rdma.max'],
  read(texts) {
    const max = [...nestedOf(texts.get('rdma.max'))].map(([device, values]) =>
      known<RdmaMax>({ device, handles: values.get('hca_handle'), objects: values.get('hca_object') }),
    );
    return known<RdmaSettings>({ max: texts.has('rdma.max') ? max : undefined });
  },
};

/** What is in use, by device. */
export function rdmaStats(text: string): Record<string, { handles: number; objects: number }> {
  const count = (value: number | 'max' | undefined): number => (typeof value === 'number' ? value : 0);
  return Object.fromEntries(
    [...nestedOf(text)].flatMap(([device, values]) =>
      values.size === 0
        ? []
        : [[device, { handles: count(values.get('hca_handle')), objects: count(values.get('hca_object')) }] as const],
    ),
  );
}
