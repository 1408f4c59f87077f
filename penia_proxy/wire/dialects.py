"""
Know the dialects.

Its one job: the dialect of a provider's ``format``. Adding a dialect is one module beside this one and a line here.
"""

from penia_proxy.wire.anthropic import Anthropic
from penia_proxy.wire.call import Dialect
from penia_proxy.wire.openai import OpenAI

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(), Anthropic())}
