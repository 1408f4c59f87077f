"""
Know the dialects.

Its one job: the dialect of a provider's ``format``. Adding a dialect is one module beside this one and a line here.
"""

from penia_proxy.wire.anthropic import Anthropic
from penia_proxy.wire.bedrock import Bedrock
from penia_proxy.wire.call import Dialect
from penia_proxy.wire.cohere import Cohere
from penia_proxy.wire.families import FAMILIES
from penia_proxy.wire.google import Google
from penia_proxy.wire.ollama import Ollama
from penia_proxy.wire.openai import OpenAI

_OPENAI_AND_ITS_RELATIVES: tuple[Dialect, ...] = tuple(map(OpenAI, FAMILIES))
_OTHERS: tuple[Dialect, ...] = (Anthropic(), Google(), Ollama(), Cohere(), Bedrock())

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (*_OPENAI_AND_ITS_RELATIVES, *_OTHERS)}
