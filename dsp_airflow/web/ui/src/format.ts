/** How values are written. Pure: what depends on the time is given it. */

/** A count. The API writes those that JavaScript could not hold as text. */
export type Count = number | string;

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `1,234,567`; a dash where there is none. */
export function count(value: Count | null | undefined): string {
  if (value === null || value === undefined) {
    return "–";
  }
  return grouped.format(typeof value === "string" ? BigInt(value) : value);
}

/** `1.4 GiB`. */
export function bytes(value: Count | null | undefined): string {
  if (value === null || value === undefined) {
    return "–";
  }
  let size = Number(value);
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (Math.abs(size) >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${grouped.format(size)} ${units[unit]}`;
}

/** `<1 s`, `42 s`, `3 min 07 s`, `2 h 05 min`, `3 d 04 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) {
    return "–";
  }
  if (seconds > 0 && seconds < 1) {
    return "<1 s";
  }
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  if (whole < MINUTE) {
    return `${whole} s`;
  }
  if (whole < HOUR) {
    return `${Math.floor(whole / MINUTE)} min ${two(whole % MINUTE)} s`;
  }
  if (whole < DAY) {
    return `${Math.floor(whole / HOUR)} h ${two(Math.floor((whole % HOUR) / MINUTE))} min`;
  }
  return `${Math.floor(whole / DAY)} d ${two(Math.floor((whole % DAY) / HOUR))} h`;
}

/** How long something may last, as it was set: `48 h`, `90 min`. */
export function period(seconds: number): string {
  return seconds % HOUR === 0 ? `${grouped.format(seconds / HOUR)} h` : duration(seconds);
}

/** `5 minutes ago`, `in 2 hours`. */
export function ago(moment: string, now: number): string {
  const seconds = (Date.parse(moment) - now) / 1000;
  const size = Math.abs(seconds);
  if (size < MINUTE) {
    return relative.format(Math.trunc(seconds), "second");
  }
  if (size < HOUR) {
    return relative.format(Math.trunc(seconds / MINUTE), "minute");
  }
  // "Tomorrow" would be too little for what ends in two days less a minute.
  if (size < 2 * DAY) {
    return relative.format(Math.trunc(seconds / HOUR), "hour");
  }
  return relative.format(Math.trunc(seconds / DAY), "day");
}

/** `2026-03-29 02:30:00 UTC`. */
export function exact(moment: string): string {
  return `${new Date(moment).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** `45 %`: rounded down, so that only what is done says 100. */
export function percent(share: number): string {
  return `${Math.floor(Math.min(1, Math.max(0, share)) * 100 + 1e-9)} %`;
}

/** The part of `end - start` that is over at `now`, from 0 to 1. */
export function elapsed(start: string, end: string, now: number): number {
  const [from, to] = [Date.parse(start), Date.parse(end)];
  return to <= from ? 1 : Math.min(1, Math.max(0, (now - from) / (to - from)));
}

/** A sum that stays exact, however big. */
export function sum(values: readonly Count[]): Count {
  const found = values.reduce<bigint>((all, one) => all + BigInt(one), 0n);
  return found <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(found) : String(found);
}
