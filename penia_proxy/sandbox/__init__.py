"""
A provider that answers without a network, in the exact wire format of OpenAI and Anthropic: the demo's, and the tests'.

Rule: an answer is a function of the request's body alone (and of what the prompt caches have seen), ids included, so a
call through a gateway can be compared with a direct one field by field. It must not know the gateway: no part of
penia_proxy but ``clock`` and ``errors`` is imported here. It keeps no prompt and no key.
"""

from penia_proxy.sandbox.app import Sandbox, running_sandbox
from penia_proxy.sandbox.bill import Call
from penia_proxy.sandbox.faults import Asked, Behaviour, Script

__all__ = ["Asked", "Behaviour", "Call", "Sandbox", "Script", "running_sandbox"]
