/** The list with one entry moved to another place. Pure. */
export function moved<T>(list: readonly T[], from: number, to: number): T[] {
  const after = [...list];
  const [one] = after.splice(from, 1);
  if (one === undefined || to < 0 || to > after.length) {
    return [...list];
  }
  after.splice(to, 0, one);
  return after;
}
