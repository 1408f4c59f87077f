/**
 * Ask for the usage of a budget.
 *
 * Its one job: which calls are a budget's. Those of one that covers every call, and has since the time that is asked
 * for, are all calls: their sums are kept by the hour, where a budget's own have to be added up call by call.
 */

export function coversAll({ scope }) {
  return !scope.components.length && !scope.providers.length && !scope.models.length && !Object.keys(scope.tags).length;
}

/** Return what to ask a summary for: the calls of a budget since an instant; without a budget, all calls. */
export function since(budget, start) {
  const isAll = budget === null || (coversAll(budget) && new Date(budget.updated_at) < new Date(start));
  return isAll ? { start_time: start } : { start_time: start, budget_id: budget.budget_id };
}
