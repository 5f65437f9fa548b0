/** A schedule in words, where it is one of those that people write. Pure. */

const DAYS = [
  "Sunday",
  "Monday",
  "Tuesday",
  "Wednesday",
  "Thursday",
  "Friday",
  "Saturday",
  "Sunday",
];
const PRESETS: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
};

/** `every day at 02:00`; null where it says more than fits into few words. */
export function inWords(schedule: string): string | null {
  const parts = (PRESETS[schedule] ?? schedule).trim().split(/\s+/);
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = parts;
  if (parts.length !== 5 || month !== "*") {
    return null;
  }
  const often = everyFew(minute, hour);
  if (often !== null) {
    return day === "*" && weekday === "*" ? often : null;
  }
  if (!isNumber(minute) || !isNumber(hour)) {
    return null;
  }
  const time = `${hour.padStart(2, "0")}:${minute.padStart(2, "0")}`;
  if (day === "*") {
    const days = weekdays(weekday);
    return days === null ? null : `${days} at ${time}`;
  }
  return isNumber(day) && weekday === "*" ? `on day ${day} of every month at ${time}` : null;
}

function everyFew(minute: string, hour: string): string | null {
  if (hour === "*") {
    if (minute === "*" || minute === "*/1") {
      return "every minute";
    }
    const step = /^\*\/(\d+)$/.exec(minute)?.[1];
    if (step !== undefined) {
      return `every ${step} minutes`;
    }
    return isNumber(minute) ? `every hour at minute ${minute}` : null;
  }
  const step = /^\*\/(\d+)$/.exec(hour)?.[1];
  return step !== undefined && isNumber(minute) ? `every ${step} hours at minute ${minute}` : null;
}

function weekdays(text: string): string | null {
  if (text === "*") {
    return "every day";
  }
  if (text === "1-5") {
    return "Monday to Friday";
  }
  const found = text.split(",").map((one) => (/^[0-7]$/.test(one) ? DAYS[Number(one)] : undefined));
  return found.every((one) => one !== undefined) ? `every ${found.join(", ")}` : null;
}

function isNumber(text: string): boolean {
  return /^\d{1,2}$/.test(text);
}
