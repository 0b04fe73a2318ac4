/** Where names are answered, in every container whose egress is decided; a file of its own, as it is known before all else. */

/** resolv.conf(5) of the container has it. An address of the loopback that other programs do not usually take. */
export const nameServer = '127.0.0.11';
