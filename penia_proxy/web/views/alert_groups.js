/**
 * Put alerts together that are about one thing.
 *
 * Its one job: the thresholds that one window has passed are one entry, the highest first; every other alert is its
 * own. Knows no page.
 */

const ORDER = ["critical", "warning", "info"];
const STEPS = new Set(["threshold", "exceeded"]);

/** Return lists of alerts, the most severe first. */
export function groups(alerts) {
  const found = new Map();
  for (const alert of alerts) {
    const key = STEPS.has(alert.alert_type)
      ? [alert.budget_id, alert.period, alert.window_start].join(" ")
      : alert.alert_id;
    found.set(key, [...(found.get(key) ?? []), alert]);
  }
  for (const group of found.values()) group.sort((one, other) => other.threshold_percent - one.threshold_percent);
  return [...found.values()].sort(([one], [other]) => ORDER.indexOf(one.severity) - ORDER.indexOf(other.severity));
}
