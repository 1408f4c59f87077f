/**
 * Say what is wrong with a budget while it is written.
 *
 * Its one job: the rules of the form, as sentences. The API's own rules are the last word; these are the same ones,
 * said sooner. Knows no page.
 */

const LIMITS = ["hourly_limit", "daily_limit", "weekly_limit", "monthly_limit", "total_limit"];
const NAMES = {
  hourly_limit: "hour",
  daily_limit: "day",
  weekly_limit: "week",
  monthly_limit: "month",
  total_limit: "total",
};
const USD_MAX = 1_000_000_000;
const TEXT_MAX = { name: 200, description: 2000, owner: 200 };

/** Read an amount: null where there is none, NaN where it is none. */
export function amount(text) {
  const plain = text.replaceAll(",", "").trim();
  if (plain === "") return null;
  return /^\d*\.?\d+$|^\d+\.$/.test(plain) ? Number(plain) : NaN;
}

/** Return what is wrong, by field; empty where nothing is. */
export function wrongs(form) {
  const found = {};
  if (!form.name) found.name = "A budget needs a name.";
  for (const [name, most] of Object.entries(TEXT_MAX)) {
    if ((form[name] ?? "").length > most) found[name] = `At most ${most} characters.`;
  }
  for (const name of LIMITS) {
    const limit = amount(form[name]);
    if (Number.isNaN(limit)) found[name] = "An amount in US dollars, such as 25 or 0.50.";
    else if (limit > USD_MAX) found[name] = "At most 1,000,000,000.";
    else if ((form[name].split(".")[1] ?? "").length > 9) found[name] = "At most nine decimals.";
  }
  const warn = amount(form.warn_at);
  if (warn === null || Number.isNaN(warn) || warn <= 0 || warn > 100)
    found.warn_at = "A share of the limit, above 0 and up to 100 %.";
  const day = Number(form.month_start_day);
  if (!Number.isInteger(day) || day < 1 || day > 31) found.month_start_day = "A day of the month, 1 to 31.";
  if (!isZone(form.timezone)) found.timezone = "A time zone, such as Europe/Berlin or UTC.";
  if (form.tags.some((tag) => !/^[^=]+=.+$/.test(tag))) found.tags = "A tag is name=value, such as team=search.";
  return found;
}

function isZone(name) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return /^[A-Z]/i.test(name);
  } catch {
    return false;
  }
}

/** Return what may be meant, but is odd. */
export function oddities(form) {
  const limits = LIMITS.map((name) => [name, amount(form[name])]).filter(
    ([, limit]) => limit !== null && !Number.isNaN(limit),
  );
  const found = {};
  for (const [index, [name, limit]] of limits.entries()) {
    const smaller = limits.slice(0, index).find(([, before]) => before > limit);
    if (smaller) found[name] = `Less than the ${NAMES[smaller[0]]}'s limit, which can then never be reached.`;
    else if (limit === 0) found[name] = "Nothing that costs anything fits.";
  }
  return found;
}

/** Return the body that the API takes. */
export function bodyOf(form) {
  const limits = Object.fromEntries(LIMITS.map((name) => [name, amount(form[name])]));
  return {
    name: form.name,
    description: form.description || null,
    owner: form.owner || null,
    ...limits,
    scope: scopeOf(form),
    enforcement: form.enforcement,
    overrun: form.overrun,
    unpriced: form.unpriced || null,
    shadow: form.shadow,
    warn_at: Number((amount(form.warn_at) / 100).toFixed(6)),
    timezone: form.timezone,
    week_start: form.week_start,
    month_start_day: Number(form.month_start_day),
  };
}

export function scopeOf({ components, providers, models, tags }) {
  const pairs = tags
    .filter((tag) => tag.includes("="))
    .map((tag) => [tag.slice(0, tag.indexOf("=")), tag.slice(tag.indexOf("=") + 1)]);
  return { components, providers, models, tags: Object.fromEntries(pairs) };
}
