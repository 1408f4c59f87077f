"""
Everything that a gateway's start needs, for the process that the killed ones are forked off.

Its one job: to be imported there, once.
"""

import gc

import penia_proxy.app
import penia_proxy.cli.serve  # noqa: F401
import tests.ledger.killed  # noqa: F401
from penia_proxy.budget.tokens import load_vocabulary

load_vocabulary()
gc.collect()
gc.freeze()  # or each child would copy all of it with its first collection
