"""
What is durable: budgets, open holds, usage records, and the counters made of them.

`ledger` is the way in; `verify` proves the counters from the records. Nothing here knows HTTP, prices or verdicts.
"""
