/** What callers say of registries: credentials, mirrors, trust, time. */

import type { Duration } from '../../units.js';

/** Who one is for a registry: a name with its password, an identity token of an earlier login, or a ready bearer token. */
export type RegistryCredentials =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string }
  | { readonly token: string };

/** Certificates for one registry, in PEM. */
export interface RegistryTls {
  /** Authorities that are trusted for this host **instead of** the well-known ones. */
  readonly ca?: string | Uint8Array;
  /** This client's certificate, with `key`. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  readonly passphrase?: string;
}

/** How registries are reached. Hosts are written as in names of images: `ghcr.io`, `localhost:5000`. */
export interface RegistryOptions {
  /**
   * Credentials for the registry, or a function that is asked for those of each host (a helper program can be asked there).
   * They go to exactly that host, and to where it says that tokens are given out. A function that gives undefined leaves it to
   * `configFile`.
   */
  readonly credentials?:
    | RegistryCredentials
    | ((host: string) => RegistryCredentials | undefined | Promise<RegistryCredentials | undefined>);
  /**
   * A file as `docker login` writes it. Default: `$REGISTRY_AUTH_FILE`, else `$DOCKER_CONFIG/config.json`, else
   * `~/.docker/config.json`, if it exists. `false`: none.
   */
  readonly configFile?: string | false;
  /**
   * Whether programs that `configFile` names for a registry (`credHelpers`, `credsStore`) are asked for its credentials:
   * `docker-credential-<name> get`, found in `PATH`, with the rights of this process. Default false: no program is run, and what
   * only they know is not known.
   */
  readonly credentialHelpers?: boolean;
  /** For pulls: where else to look first, `{ 'docker.io': ['https://mirror.example'] }`. `http:` only as written here. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Hosts that are spoken to in plain http. No other one is, whatever fails. */
  readonly insecure?: readonly string[];
  readonly tls?: Readonly<Record<string, RegistryTls>>;
  /** A proxy for everything, or `false` for none. Default: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. */
  readonly proxy?: string | false;
  readonly timeouts?: {
    /** Until a connection is there. Default 10 s. */
    readonly connect?: Duration;
    /** Without a byte arriving. Default 30 s. */
    readonly idle?: Duration;
    /** For the whole operation. Default: none. */
    readonly total?: Duration;
  };
  /** How often what may pass (429, 5xx, broken connections) is tried again, waiting ever longer. Default 4. */
  readonly retries?: number;
  /** Layers at a time. Default 3. */
  readonly parallel?: number;
}
