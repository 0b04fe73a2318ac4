/** Several things at once, up to a limit. */

/**
 * @param cancel ends what still runs after a failure
 * @throws the first failure, after what was running has ended; nothing more is begun then
 */
export async function inParallel<T>(
  items: readonly T[],
  most: number,
  action: (item: T) => Promise<void>,
  cancel: (reason: unknown) => void,
): Promise<void> {
  const failures: unknown[] = [];
  const waiting = [...items];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined && failures.length === 0; item = waiting.shift()) {
      try {
        await action(item);
      } catch (error) {
        failures.push(error);
        cancel(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
