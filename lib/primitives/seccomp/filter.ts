/** The public face of seccomp without a container: profiles compiled to filters, listed, and asked what they answer. */

import { arch as nodeArch, release } from 'node:os';
import { OptionError, UnsupportedError } from '../../errors.js';
import { Capabilities } from '../capabilities.js';
import { readAnswer, returnAllow, type SeccompAnswer } from './action.js';
import { auditArch, decode, type Instruction, type SeccompData } from './bpf.js';
import { compileSeccompCached } from './compile.js';
import { defaultProfile } from './default.js';
import { disassemble } from './disassemble.js';
import { dockerProfile } from './docker.js';
import { checkInstructions, constantAnswer, execute } from './interpreter.js';
import { isValidated, type SeccompProfile, validateProfile } from './profile.js';
import { type SeccompArch, syscallNumber } from './syscalls.js';

/** What a filter is compiled for. */
export interface SeccompCompileOptions {
  /** The bounding set that conditions of rules are about. Default {@link Capabilities.default}. */
  readonly capabilities?: Capabilities | readonly string[];
  /** By Node's names. Default this machine's. */
  readonly architecture?: SeccompArch;
  /** The kernel's version, such as `'6.1'`. Default this machine's. */
  readonly kernel?: string;
}

/** Which calling convention a call comes by, for {@link SeccompFilter.simulate}. */
export type SimulatedArchitecture = SeccompArch | 'x32' | 'i386' | 'arm';

export interface SimulateOptions {
  /**
   * Default the filter's own. `'x32'` is x86_64 with bit 30 of the number set; `'i386'` and `'arm'` have numbers of their
   * own, so the call is given as one; a number is any `AUDIT_ARCH_*`.
   */
  readonly architecture?: SimulatedArchitecture | number;
  /** Address of the instruction that makes the call. Default 0. */
  readonly instructionPointer?: bigint;
}

/** A filter's answer to one call, and what it cost. */
export interface SeccompVerdict extends SeccompAnswer {
  /** How many instructions were executed. */
  readonly instructions: number;
}

const x32Bit = 0x4000_0000;
const otherMachines = { i386: 0x4000_0003, arm: 0x4000_0028 } as const;

/** A seccomp program: what seccomp(2) is given, with the means to read it and to ask it. Immutable. */
export class SeccompFilter {
  /** The architecture that it is for, whose names calls have. */
  readonly architecture: SeccompArch;
  readonly #program: Uint8Array;
  #decoded: readonly Instruction[] | undefined;

  /** @internal See {@link Seccomp.compile} and {@link Seccomp.load}. The bytes are the filter's from now on. */
  constructor(program: Uint8Array, architecture: SeccompArch) {
    this.architecture = architecture;
    this.#program = program;
  }

  get #instructions(): readonly Instruction[] {
    this.#decoded ??= decode(this.#program);
    return this.#decoded;
  }

  /** A copy of the bytes: `struct sock_filter` after `struct sock_filter`, eight bytes each, little endian. */
  get program(): Uint8Array {
    return this.#program.slice();
  }

  /** How many instructions it has, at most 4096. */
  get length(): number {
    return this.#program.length / 8;
  }

  /**
   * One line for each instruction: `12: jeq 0x29 (socket), then 40 else 13`. Numbers of lines count from 0; a jump leads to
   * the line it names; `args[2].low` is the lower half of the third argument.
   */
  disassemble(): string {
    return disassemble(this.#program, this.architecture);
  }

  /**
   * What the filter answers to a system call; nothing is called.
   *
   * ```ts
   * Seccomp.compile('default').simulate('socket', [38]).errno; // 'EPERM': AF_ALG
   * ```
   * @param call its name or number
   * @param args up to six; negative ones are sign-extended to 64 bits, as a C program would pass them
   * @throws OptionError for a name that the architecture does not have, or arguments that are no 64-bit numbers
   */
  simulate(
    call: string | number,
    args: readonly (number | bigint)[] = [],
    options: SimulateOptions = {},
  ): SeccompVerdict {
    const architecture = options.architecture ?? this.architecture;
    const { value, executed } = execute(this.#instructions, {
      arch: machineOf(architecture),
      nr: numberOf(call, architecture),
      args: readArguments(args),
      instructionPointer: options.instructionPointer ?? 0n,
    });
    return { ...readAnswer(value), instructions: executed };
  }

  /**
   * Whether a call is allowed whatever its arguments. These are the calls whose answer the kernel remembers (5.11), so that the
   * filter does not run for them.
   * @param call its name or number
   * @throws OptionError for a name that the architecture does not have
   */
  allowsAlways(call: string | number): boolean {
    const nr = numberOf(call, this.architecture);
    return constantAnswer(this.#instructions, auditArch[this.architecture], nr) === returnAllow;
  }

  /** @internal The answer to a call as the kernel describes it. */
  answer(data: SeccompData): SeccompAnswer {
    return readAnswer(execute(this.#instructions, data).value);
  }
}

/** Seccomp by itself: the same compiler, profiles and interpreter that containers use. */
export const Seccomp = Object.freeze({
  /** The profile that a container gets unless it asks for another: Docker's, tightened. Frozen. */
  default: defaultProfile,
  /** Docker's default profile. Frozen. */
  docker: dockerProfile,

  /**
   * Compiles a profile: `'default'`, `'docker'`, or one in the format of Docker or of the OCI runtime specification.
   *
   * ```ts
   * const filter = Seccomp.compile('docker', { capabilities: ['CAP_SYS_ADMIN'] });
   * filter.simulate('mount').action; // 'allow'
   * ```
   * Besides the profile's rules: calls of a foreign architecture kill the process, and numbers that no kernel known here has
   * fail with ENOSYS. Of several rules that hold for one call the most restrictive answer wins. For arguments that the
   * kernel takes as 32-bit numbers only the lower half is compared.
   * @throws OptionError for a profile or option that is wrong, or a profile that needs more than 4096 instructions
   * @throws UnsupportedError on an architecture without a table of system calls, unless one is given
   * @see https://man7.org/linux/man-pages/man2/seccomp.2.html
   */
  compile(profile: 'default' | 'docker' | SeccompProfile, options: SeccompCompileOptions = {}): SeccompFilter {
    const arch = readArchitecture(options.architecture);
    const target = {
      arch,
      capabilities: Capabilities.none.union(Capabilities.from(options.capabilities ?? Capabilities.default)),
      kernel: readKernel(options.kernel ?? release(), options.kernel === undefined),
    };
    const chosen = namedProfile(profile);
    const checked = chosen === undefined ? validateProfile(profile, 'profile') : chosen;
    return new SeccompFilter(compileSeccompCached(checked, target), arch);
  },

  /**
   * A program that was made elsewhere, such as by libseccomp (`seccomp_export_bpf`).
   * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) for one that the kernel would not load
   */
  load(program: Uint8Array, { architecture }: { readonly architecture?: SeccompArch } = {}): SeccompFilter {
    if (!(program instanceof Uint8Array)) throw new OptionError('program', 'bytes', program);
    checkInstructions(decode(program));
    return new SeccompFilter(program.slice(), readArchitecture(architecture));
  },

  /**
   * Checks a profile of unknown origin, such as parsed JSON, and returns it as a frozen copy without its empty parts. Strict:
   * an unknown key, action, operator or system call is an error that names its place.
   * @throws OptionError naming the place, such as `profile.syscalls[3].names[0]`
   */
  validate(profile: unknown): SeccompProfile {
    return validateProfile(profile, 'profile');
  },
});

function namedProfile(profile: unknown): SeccompProfile | undefined {
  if (profile === 'default') return defaultProfile;
  if (profile === 'docker') return dockerProfile;
  if (typeof profile === 'string') {
    throw new OptionError('profile', "'default', 'docker' or a profile in the OCI format", profile);
  }
  return isValidated(profile as SeccompProfile) ? (profile as SeccompProfile) : undefined;
}

function readArchitecture(value: unknown): SeccompArch {
  if (value === undefined) {
    const own = nodeArch();
    if (own === 'x64' || own === 'arm64') return own;
    throw new UnsupportedError(`system calls of ${own} are not known here`, { hint: "give architecture: 'x64'" });
  }
  if (value === 'x64' || value === 'arm64') return value;
  throw new OptionError('architecture', "'x64' or 'arm64'", value);
}

/** @param own a version of this machine's, which has more after the two numbers */
function readKernel(value: unknown, own: boolean): readonly [number, number] {
  const match = typeof value === 'string' ? /^(\d{1,3})\.(\d{1,5})/.exec(value) : null;
  if (!match || (!own && match[0] !== value)) throw new OptionError('kernel', "a version such as '6.1'", value);
  return [Number(match[1]), Number(match[2])];
}

function machineOf(architecture: SimulatedArchitecture | number): SeccompArch | number {
  if (architecture === 'x32') return 'x64';
  if (architecture === 'i386' || architecture === 'arm') return otherMachines[architecture];
  if (typeof architecture === 'number') {
    if (Number.isInteger(architecture) && architecture >= 0 && architecture < 2 ** 32) return architecture;
  } else if (Object.hasOwn(auditArch, architecture)) {
    return architecture;
  }
  throw new OptionError('architecture', "'x64', 'arm64', 'x32', 'i386', 'arm' or an AUDIT_ARCH number", architecture);
}

function numberOf(call: unknown, architecture: SimulatedArchitecture | number): number {
  const bit = architecture === 'x32' ? x32Bit : 0;
  if (typeof call === 'number' && Number.isInteger(call) && call >= 0 && call < 2 ** 32) return (call | bit) >>> 0;
  const names = architecture === 'x32' ? 'x64' : architecture;
  if (typeof call === 'string' && (names === 'x64' || names === 'arm64')) {
    const number = syscallNumber(names, call);
    if (number !== undefined) return (number | bit) >>> 0;
  }
  throw new OptionError('call', `the name of a system call of ${architecture}, or a number`, call);
}

function readArguments(args: readonly (number | bigint)[]): bigint[] {
  if (!Array.isArray(args) || args.length > 6) throw new OptionError('args', 'at most six numbers', args);
  return Array.from(args, (value: unknown, index) => {
    if (typeof value === 'number' ? Number.isSafeInteger(value) : typeof value === 'bigint') {
      const wide = BigInt(value as number | bigint);
      if (wide >= -(2n ** 63n) && wide < 2n ** 64n) return BigInt.asUintN(64, wide);
    }
    throw new OptionError(`args[${index}]`, 'a 64-bit number', value);
  });
}
