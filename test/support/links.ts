/** What a new network namespace has in it by itself. */

const names = /^(?:sit|tunl|gre|gretap|erspan|ip6tnl|ip6gre|ip_vti|ip6_vti)0$/;

/** Some kernels put links for tunnels into each new namespace (net.core.fb_tunnels_only_for_init_net). */
export function isFallback(name: string): boolean {
  return names.test(name);
}
