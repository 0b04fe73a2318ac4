/** Registries: fetching images, sending them, and asking what there is. */

export type { RegistryCredentials, RegistryOptions, RegistryTls } from './options.js';
export { Registry } from './registry.js';
