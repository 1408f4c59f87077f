"""
Read chats that a provider's own store shapes: Mistral's agents, Portkey's prompts.

Its one job: a chat call whose model is not named, but what is stored under an id.
Rules: the id stands for the model until the answer names it, so a price before that needs an entry in ``models`` of
the provider's configuration. What is stored brings text, settings and tools of its own, so nothing in the request
bounds the call. Sources: mistralai 3.7.0's types (AgentsCompletionRequest); recorded answers.
"""

from dataclasses import replace

from penia_proxy.wire.body import model_of, read_object
from penia_proxy.wire.call import Call, Request
from penia_proxy.wire.families import Family
from penia_proxy.wire.openai_chat import chat_call


def stored_call(request: Request, family: Family) -> Call:
    """Return the call, under the id that the path or ``agent_id`` names. Raises InvalidRequest."""
    named = request.path_values[0] if request.path_values else read_object(request.body).get("agent_id")
    call = chat_call(replace(request, path_values=(model_of({"model": named}),)), replace(family, model_in_path=True))
    size = replace(call.size, beyond_body=True, unbounded_why="what is stored brings its own text, settings and tools")
    return replace(call, operation=request.operation, size=size)
