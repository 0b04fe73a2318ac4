import { mergeConfig } from 'vitest/config';
import base from './vitest.config.js';

const config = mergeConfig(base, {});
export default { ...config, test: { ...config.test, include: ['test/peers/**/*.test.ts'] } };
