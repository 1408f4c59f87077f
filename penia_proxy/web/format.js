/**
 * Write figures.
 *
 * Its one job: numbers and instants as people read them. Rules: what is rounded can be seen exactly (`exact`, as a
 * title); nothing that is unknown is written as a number. Instants are in the viewer's zone.
 */

const NUMBER = new Intl.NumberFormat("en-US");
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

export const UNKNOWN = "–";

/** Return USD: cents from a dollar on, four significant digits and more below, so that a call is not "$0.00". */
export function money(usd) {
  if (usd === null || usd === undefined) return UNKNOWN;
  const size = Math.abs(usd);
  const digits = size === 0 || size >= 1 ? 2 : size >= 0.01 ? 4 : 6;
  if (size > 0 && size < 0.000001) return usd < 0 ? "> −$0.000001" : "< $0.000001";
  return written(usd, digits, digits);
}

/** Return USD to the nano-dollar. */
export function exact(usd) {
  return usd === null || usd === undefined ? UNKNOWN : written(usd, 2, 9);
}

/** Return USD with six decimals, for columns of calls; what is something is never written as nothing. */
export function fine(usd) {
  if (usd === null || usd === undefined) return UNKNOWN;
  return usd !== 0 && Math.abs(usd) < 0.000001 ? money(usd) : written(usd, 6, 6);
}

/** Return how to write the amounts of one column: with the same digits, as many as the largest leaves room for. */
export function inColumn(amounts) {
  const most = Math.max(0, ...amounts.map((usd) => Math.abs(usd ?? 0)));
  const digits = most >= 1000 ? 2 : most >= 1 ? 4 : 6;
  return (usd) => {
    if (usd === null || usd === undefined) return UNKNOWN;
    const isTiny = usd !== 0 && Math.abs(usd) < 0.5 / 10 ** digits;
    return isTiny ? `< ${written(1 / 10 ** digits, digits, digits)}` : written(usd, digits, digits);
  };
}

function written(usd, least, most) {
  const text = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most }).format(
    Math.abs(usd),
  );
  return `${usd < 0 ? "−" : ""}$${text}`;
}

export function count(number) {
  return number === null || number === undefined ? UNKNOWN : NUMBER.format(number);
}

/** Return a large number in three digits: 12.3k, 4.56M. */
export function short(number) {
  if (number === null || number === undefined) return UNKNOWN;
  for (const [unit, size] of [
    ["T", 1e12],
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ]) {
    if (Math.abs(number) >= size) return `${Number((number / size).toPrecision(3))}${unit}`;
  }
  return NUMBER.format(number);
}

export function percent(part) {
  if (part === null || part === undefined) return UNKNOWN;
  if (part > 0 && part < 0.05) return "< 0.1 %";
  if (part >= 100_000) return `${short(part)} %`;
  return `${part >= 99.95 || part === 0 ? count(Math.round(part)) : part.toFixed(1)} %`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Return an instant as briefly as it is clear today. */
export function when(iso, { seconds = false } = {}) {
  if (!iso) return UNKNOWN;
  const at = new Date(iso);
  const now = new Date();
  const time = (seconds ? CLOCK : MINUTE).format(at);
  if (at.toDateString() === now.toDateString()) return time;
  return `${(at.getFullYear() === now.getFullYear() ? DAY : YEAR).format(at)} ${time}`;
}

/** Return the beginning of a window as the day, or the hour, that it is in its budget's zone. */
export function windowOf(iso, period, zone) {
  const time = period === "hourly" ? { hour: "2-digit", minute: "2-digit" } : {};
  const written = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: zone, ...time });
  return written.format(new Date(iso));
}

/** Return an instant with its zone. */
export function whole(iso) {
  return iso ? WHOLE.format(new Date(iso)) : UNKNOWN;
}

/** Return a length of time in two units. */
export function span(ms) {
  const minutes = Math.max(0, Math.round(ms / 60_000));
  if (ms < 60_000) return `${Math.max(0, Math.round(ms / 1000))} s`;
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  return hours ? (rest ? `${hours} h ${rest} min` : `${hours} h`) : `${rest} min`;
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return UNKNOWN;
  return ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${NUMBER.format(Math.round(ms))} ms`;
}

export const PERIODS = { hourly: "Hour", daily: "Day", weekly: "Week", monthly: "Month", total: "Total" };
export const PERIOD_ORDER = Object.keys(PERIODS);

/** Return a code of ours as words: `provider_cost` is "provider cost". */
export function words(code) {
  return code === null || code === undefined ? UNKNOWN : String(code).replaceAll("_", " ");
}

export function capital(word) {
  return word && word[0].toUpperCase() + word.slice(1);
}
