/** Many starts with a fixed number of them under way at any moment. */
export async function inFlight(total: number, width: number, start: () => PromiseLike<unknown>): Promise<void> {
  let left = total;
  const lane = async () => {
    while (left-- > 0) await start();
  };
  await Promise.all(Array.from({ length: width }, lane));
}
