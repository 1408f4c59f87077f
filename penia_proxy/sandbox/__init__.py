"""
A provider that answers without a network, in the providers' own wire formats: the demo's, and the tests'.

Rule: an answer is a function of the request's body alone (and of what the prompt caches have seen, and of what was
stored before), ids included, so a call through a gateway can be compared with a direct one field by field. It must not
know the gateway: no part of penia_proxy but ``clock``, ``errors`` and the event stream's framing is imported here.
It writes down no prompt and no key; what a provider stores (responses, files, batches) it forgets when it stops.
"""

from penia_proxy.sandbox.app import Sandbox, running_sandbox
from penia_proxy.sandbox.bill import Call, Charge, Tokens
from penia_proxy.sandbox.faults import Asked, Behaviour, Script

__all__ = ["Asked", "Behaviour", "Call", "Charge", "Sandbox", "Script", "Tokens", "running_sandbox"]
