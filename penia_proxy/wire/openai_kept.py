"""
List what OpenAI keeps for its callers without a bill of its own.

Its one job: the paths to files, vector stores, assistants and threads, behind the version, as (method, path).
Rules: storing costs by the day, outside of any answer; what works on what is stored costs by the call, and is not
here: runs, searches of a store, evaluations, containers. ``/threads/runs`` is no thread, but starts one and runs it.
Uploads in parts are not here either: a batch's lines could come in by them unseen. Sources: wire_formats.md §1.1;
openai-python 3.57.0's resources.
"""

_TABLE = """
    POST    /files
    GET     /vector_stores
    POST    /vector_stores
    GET     /vector_stores/{}
    POST    /vector_stores/{}
    DELETE  /vector_stores/{}
    GET     /vector_stores/{}/files
    POST    /vector_stores/{}/files
    GET     /vector_stores/{}/files/{}
    POST    /vector_stores/{}/files/{}
    DELETE  /vector_stores/{}/files/{}
    GET     /vector_stores/{}/files/{}/content
    POST    /vector_stores/{}/file_batches
    GET     /vector_stores/{}/file_batches/{}
    POST    /vector_stores/{}/file_batches/{}/cancel
    GET     /vector_stores/{}/file_batches/{}/files
    GET     /assistants
    POST    /assistants
    GET     /assistants/{}
    POST    /assistants/{}
    DELETE  /assistants/{}
    POST    /threads
    GET     /threads/thread_{}
    POST    /threads/thread_{}
    DELETE  /threads/thread_{}
    GET     /threads/thread_{}/messages
    POST    /threads/thread_{}/messages
    GET     /threads/thread_{}/messages/{}
    POST    /threads/thread_{}/messages/{}
    DELETE  /threads/thread_{}/messages/{}
"""

KEPT: tuple[tuple[str, str], ...] = tuple(
    (line.split()[0], line.split()[1]) for line in _TABLE.split("\n") if line.strip()
)
"""(method, path)."""
