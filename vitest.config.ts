import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { tscontain: new URL('./lib/index.ts', import.meta.url).pathname } },
  test: {
    include: ['test/{unit,integration,security,faults}/**/*.test.ts'],
    // Containers are processes: parallel files compete for two cores and make timing tests lie.
    fileParallelism: false,
    testTimeout: 30_000,
  },
});
