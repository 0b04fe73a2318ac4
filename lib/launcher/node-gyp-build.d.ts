declare module 'node-gyp-build' {
  /** Loads the addon of the package at `directory`: its build, or the prebuild that fits. */
  export default function load(directory: string): unknown;
}
