"""
List the providers' endpoints, and what Penia must do with each.

Its one job: data for the test that walks the list. A line is: what must be, method, path, and then the kind of body that
is sent (metered) or the reason (all else). ``{}`` is one segment, ``<a|b>`` either. What is not listed as metered
or free must not reach a provider; the refused lines name what costs money and is refused on purpose.
Sources: wire_formats.md §1; the resources of openai-python 3.57.0, anthropic-python 2.13.0, google-genai 3.6.1,
mistralai 3.7.0, groq 1.7.0, together 3.1.1, cohere 7.3.1, ollama 0.6.3, and botocore 1.44.8 (bedrock-runtime).
"""

# ruff: noqa: E501 - a line of a table is one line

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from tests.forms import SOUND, TYPE, form

Must = Literal["metered", "read", "free", "socket", "refused"]
"""
Read: free itself, but its answer can say what something else has cost. Socket: a WebSocket whose answers are metered.
"""

BILL = "repeats the bill of what it is about, or states it first"
STORED = "storing costs by the day, outside of any answer"
NAMES = "names and facts"
COUNTED = "counting is free"

LIST: dict[str, str] = {
    "openai": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/completions                            completion
        metered POST   /v1/embeddings                             embedding
        metered POST   /v1/responses                              response
        metered POST   /v1/responses/compact                      response
        metered POST   /v1/decisions                              response
        metered POST   /v1/images/generations                     image
        metered POST   /v1/images/edits                           image-form
        metered POST   /v1/audio/transcriptions                   sound
        metered POST   /v1/audio/translations                     sound
        metered POST   /v1/audio/speech                           speech
        metered POST   /v1/batches                                batch
        metered POST   /v1/threads/runs                           run
        metered POST   /v1/threads/{{}}/runs                      run
        read    GET    /v1/files/{{}}/content                     {BILL}
        read    GET    /v1/batches/{{}}                           {BILL}
        read    POST   /v1/batches/{{}}/cancel                    {BILL}
        read    GET    /v1/threads/{{}}/runs/{{}}                 {BILL}
        read    POST   /v1/threads/{{}}/runs/{{}}                 {BILL}
        read    POST   /v1/threads/{{}}/runs/{{}}/cancel          {BILL}
        read    POST   /v1/threads/{{}}/runs/{{}}/submit_tool_outputs  {BILL}
        read    GET    /v1/batches                                whose results a file has
        free    GET    /v1/threads/{{}}/runs                      names and states
        free    GET    /v1/threads/{{}}/runs/{{}}/steps           names and states
        free    GET    /v1/threads/{{}}/runs/{{}}/steps/{{}}      names and states
        free    POST   /v1/moderations                            moderation is free
        free    POST   /v1/responses/input_tokens                 {COUNTED}
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        free    GET    /v1/chat/completions                       billed when it was made
        free    GET    /v1/chat/completions/{{}}                  billed when it was made
        free    POST   /v1/chat/completions/chatcmpl-{{}}         its metadata
        free    DELETE /v1/chat/completions/{{}}                  {STORED}
        free    GET    /v1/chat/completions/{{}}/messages         billed when it was made
        read    GET    /v1/responses/{{}}                         {BILL}
        free    DELETE /v1/responses/{{}}                         {STORED}
        read    POST   /v1/responses/{{}}/cancel                  {BILL}
        free    GET    /v1/responses/{{}}/input_items             {STORED}
        free    POST   /v1/conversations                          {STORED}
        free    GET    /v1/conversations/{{}}                     {STORED}
        free    POST   /v1/conversations/{{}}                     {STORED}
        free    DELETE /v1/conversations/{{}}                     {STORED}
        free    GET    /v1/conversations/{{}}/items               {STORED}
        free    POST   /v1/conversations/{{}}/items               {STORED}
        free    GET    /v1/conversations/{{}}/items/{{}}          {STORED}
        free    DELETE /v1/conversations/{{}}/items/{{}}          {STORED}
        free    GET    /v1/files                                  {STORED}
        read    POST   /v1/files                                  names what a batch will ask
        free    GET    /v1/files/{{}}                             {STORED}
        free    DELETE /v1/files/{{}}                             {STORED}
        free    GET    /v1/vector_stores                          {STORED}
        free    POST   /v1/vector_stores                          {STORED}
        free    GET    /v1/vector_stores/{{}}                     {STORED}
        free    POST   /v1/vector_stores/{{}}                     {STORED}
        free    DELETE /v1/vector_stores/{{}}                     {STORED}
        free    GET    /v1/vector_stores/{{}}/files               {STORED}
        free    POST   /v1/vector_stores/{{}}/files               {STORED}
        free    GET    /v1/vector_stores/{{}}/files/{{}}          {STORED}
        free    POST   /v1/vector_stores/{{}}/files/{{}}          {STORED}
        free    DELETE /v1/vector_stores/{{}}/files/{{}}          {STORED}
        free    GET    /v1/vector_stores/{{}}/files/{{}}/content  {STORED}
        free    POST   /v1/vector_stores/{{}}/file_batches        {STORED}
        free    GET    /v1/vector_stores/{{}}/file_batches/{{}}   {STORED}
        free    POST   /v1/vector_stores/{{}}/file_batches/{{}}/cancel  {STORED}
        free    GET    /v1/vector_stores/{{}}/file_batches/{{}}/files   {STORED}
        free    GET    /v1/assistants                             {STORED}
        read    POST   /v1/assistants                             names what a run will ask
        read    GET    /v1/assistants/{{}}                        names what a run will ask
        read    POST   /v1/assistants/{{}}                        names what a run will ask
        free    DELETE /v1/assistants/{{}}                        {STORED}
        free    POST   /v1/threads                                {STORED}
        free    GET    /v1/threads/{{}}                    {STORED}
        free    POST   /v1/threads/{{}}                    {STORED}
        free    DELETE /v1/threads/{{}}                    {STORED}
        free    GET    /v1/threads/{{}}/messages           {STORED}
        free    POST   /v1/threads/{{}}/messages           {STORED}
        free    GET    /v1/threads/{{}}/messages/{{}}      {STORED}
        free    POST   /v1/threads/{{}}/messages/{{}}      {STORED}
        free    DELETE /v1/threads/{{}}/messages/{{}}      {STORED}
        refused POST   /v1/images/variations                      retired; it was billed by the image
        refused POST   /v1/videos                                 billed by the second of what it makes
        refused POST   /v1/videos/edits                           billed by the second of what it makes
        refused POST   /v1/videos/extensions                      billed by the second of what it makes
        refused POST   /v1/videos/x/remix                         billed by the second of what it makes
        refused POST   /v1/videos/characters                      goes with videos
        refused POST   /v1/vector_stores/x/search                 no answer says what a search costs
        refused POST   /v1/containers                             billed by the hour that it is kept
        refused POST   /v1/containers/x/files                     goes with containers
        refused POST   /v1/evals/x/runs                           runs models, whose bill is in no answer
        refused POST   /v1/fine_tuning/jobs                       billed after the answer
        refused POST   /v1/fine_tuning/alpha/graders/run          runs models, whose bill is in no answer
        refused POST   /v1/uploads                                a batch's lines could come in by parts, unseen
        refused POST   /v1/uploads/x/parts                        the same
        refused POST   /v1/uploads/x/complete                     the same
        refused POST   /v1/agents/sessions                        an agent's bill is in no answer
        refused POST   /v1/agents/sessions/x                      an agent's bill is in no answer
        refused POST   /v1/agents/sessions/x/events               an agent's bill is in no answer
        refused POST   /v1/agents/automations/x/invocations       an agent's bill is in no answer
        refused POST   /v1/chatkit/sessions                       its calls go past the gateway
        refused POST   /v1/live/sessions                          its sound goes past the gateway
        refused POST   /v1/realtime/calls                         its sound goes past the gateway
        refused POST   /v1/realtime/client_secrets                calls made with it go past the gateway
        refused POST   /v1/realtime/sessions                      calls made with it go past the gateway
        refused POST   /v1/realtime/transcription_sessions        calls made with it go past the gateway
        refused POST   /v1/realtime/translations/client_secrets   calls made with it go past the gateway
        refused GET    /v1/realtime/translations                  billed by the second, which no event states
        socket  GET    /v1/realtime                               held before it is opened
        socket  GET    /v1/responses                              each response held before it is asked for
        refused POST   /v1/audio/voices                           what a voice costs is in no answer
        refused POST   /v1/content_provenance_checks              what it costs is not known
        refused POST   /v1/skills                                 not known to be free
        refused DELETE /v1/organization/spend_limit               an administrator's business
    """,
    "azure": f"""
        metered POST   /openai/deployments/{{}}/chat/completions  chat
        metered POST   /openai/v1/chat/completions                chat
        metered POST   /models/chat/completions                   chat
        metered POST   /openai/deployments/{{}}/completions       completion
        metered POST   /openai/v1/completions                     completion
        metered POST   /openai/deployments/{{}}/embeddings        embedding
        metered POST   /openai/v1/embeddings                      embedding
        metered POST   /openai/v1/responses                       response
        metered POST   /openai/responses                          response
        metered POST   /openai/v1/responses/compact               response
        free    GET    /openai/v1/models                          {NAMES}
        free    GET    /openai/v1/models/{{}}                     {NAMES}
        read    GET    /openai<|/v1>/responses/{{}}                      {BILL}
        read    POST   /openai<|/v1>/responses/{{}}/cancel               {BILL}
        free    DELETE /openai<|/v1>/responses/{{}}                      {STORED}
        free    GET    /openai<|/v1>/responses/{{}}/input_items          {STORED}
        metered POST   /openai/v1/batches                        batch
        read    POST   /openai/v1/files                          names what a batch will ask
        read    GET    /openai/v1/files/{{}}/content             {BILL}
        read    GET    /openai/v1/batches/{{}}                   {BILL}
        read    POST   /openai/v1/batches/{{}}/cancel            {BILL}
        read    GET    /openai/v1/batches                        whose results a file has
        free    GET    /openai/v1/files                          {STORED}
        free    GET    /openai/v1/files/{{}}                     {STORED}
        free    DELETE /openai/v1/files/{{}}                     {STORED}
        refused POST   /openai/deployments/x/images/generations   a deployment does not say whether its images report tokens
        refused POST   /openai/v1/images/generations              the same
        refused POST   /openai/deployments/x/audio/speech         a deployment does not say what it is billed by
        refused POST   /openai/deployments/x/audio/transcriptions the same
        refused POST   /openai/deployments/x/audio/translations   the same
        refused POST   /openai/deployments/x/extensions/chat/completions  searches at a fee
        refused POST   /openai/v1/video/generations/jobs          billed by the second of what it makes
        socket  GET    /openai/<v1/realtime|realtime>             held before it is opened
        socket  GET    /voice-live/realtime                       held before it is opened
        socket  GET    /openai/v1/responses                       each response held before it is asked for
        refused POST   /openai/v1/realtime/calls                  its sound goes past the gateway
        refused POST   /openai/v1/realtime/client_secrets         calls made with it go past the gateway
    """,
    "groq": f"""
        metered POST   /openai/v1/chat/completions                chat
        metered POST   /openai/v1/responses                       response
        metered POST   /openai/v1/embeddings                      embedding
        metered POST   /openai/v1/audio/transcriptions            sound
        metered POST   /openai/v1/audio/translations              sound
        metered POST   /openai/v1/audio/speech                    speech
        free    GET    /openai/v1/models                          {NAMES}
        free    GET    /openai/v1/models/{{}}                     {NAMES}
        metered POST   /openai/v1/batches                        batch
        read    POST   /openai/v1/files                          names what a batch will ask
        read    GET    /openai/v1/files/{{}}/content             {BILL}
        read    GET    /openai/v1/batches/{{}}                   {BILL}
        read    POST   /openai/v1/batches/{{}}/cancel            {BILL}
        read    GET    /openai/v1/batches                        whose results a file has
        free    GET    /openai/v1/files                          {STORED}
        free    GET    /openai/v1/files/{{}}                     {STORED}
        free    DELETE /openai/v1/files/{{}}                     {STORED}
    """,
    "deepseek": f"""
        metered POST   /chat/completions                          chat
        metered POST   /v1/chat/completions                       chat
        metered POST   /responses                                 response
        metered POST   /v1/responses                              response
        free    GET    <|/v1>/models                              {NAMES}
        free    GET    <|/v1>/models/{{}}                         {NAMES}
        free    GET    /user/balance                              what is left
        refused POST   /beta/completions                          no prices for it are known
        refused POST   /anthropic/v1/messages                     another dialect than the format's
    """,
    "x-ai": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/responses                              response
        metered POST   /v1/images/generations                     image
        metered POST   /v1/images/edits                           image
        metered POST   /v1/stt                                    sound
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        read    GET    /v1/responses/{{}}                         {BILL}
        read    POST   /v1/responses/{{}}/cancel                  {BILL}
        free    DELETE /v1/responses/{{}}                         {STORED}
        free    GET    /v1/responses/{{}}/input_items             {STORED}
        refused POST   /v1/videos/generations                     billed by the second of what it makes
        refused POST   /v1/tts                                    no price for it is known
        refused POST   /v1/messages                               another dialect than the format's
        refused GET    /v1/chat/deferred-completion/x             goes with deferred chats, which are refused
        socket  GET    /v1/realtime                               held before it is opened
        socket  GET    /v1/responses                              each response held before it is asked for
        refused POST   /v1/realtime/client_secrets                calls made with it go past the gateway
        refused GET    /v1/stt                                    sound over a WebSocket: not metered yet
        refused GET    /v1/tts                                    sound over a WebSocket: not metered yet
    """,
    "openrouter": f"""
        metered POST   /api/v1/chat/completions                   chat
        metered POST   /api/v1/completions                        completion
        metered POST   /api/v1/embeddings                         embedding
        metered POST   /api/v1/responses                          response
        metered POST   /api/v1/audio/transcriptions               sound
        metered POST   /api/v1/images                             image
        free    GET    /api/v1/models                             {NAMES}
        free    GET    /api/v1/models/{{}}                        {NAMES}
        free    GET    /api/v1/key                                what is left
        free    GET    /api/v1/credits                            what is left
        free    GET    /api/v1/generation                         repeats a bill
        refused POST   /api/v1/messages                           another dialect than the format's
        refused POST   /api/v1/rerank                             not metered yet
        refused POST   /api/v1/videos                             its bill comes after the answer
    """,
    "perplexity": """
        metered POST   /chat/completions                          chat
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/embeddings                             embedding
        refused POST   /search                                    billed by the request, which no answer states
        refused POST   /async/chat/completions                    its bill comes after the answer
        refused POST   /v1/responses                              not metered yet
    """,
    "together": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/completions                            completion
        metered POST   /v1/embeddings                             embedding
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        refused POST   /v1/images/generations                     billed by the picture
        refused POST   /v1/audio/speech                           no price for it is known
        refused POST   /v1/audio/transcriptions                   no price for it is known
        refused POST   /v1/audio/translations                     no price for it is known
        refused POST   /v1/rerank                                 no price for it is known
        refused POST   /v2/videos                                 billed by the second of what it makes
        refused POST   /v1/queue/submit                           its bill comes after the answer
        refused POST   /v1/evaluation                             runs models, whose bill is in no answer
    """,
    "fireworks": f"""
        metered POST   /inference/v1/chat/completions             chat
        metered POST   /inference/v1/completions                  completion
        metered POST   /inference/v1/embeddings                   embedding
        free    GET    /inference/v1/models                       {NAMES}
        free    GET    /inference/v1/models/{{}}                  {NAMES}
        refused POST   /inference/v1/workflows/accounts/fireworks/models/x/text_to_image  billed by the step
    """,
    "cerebras": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/completions                            completion
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
    """,
    "mistral": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/fim/completions                        completion
        metered POST   /v1/responses                              response
        metered POST   /v1/embeddings                             embedding
        metered POST   /v1/audio/transcriptions                   sound
        metered POST   /v1/agents/completions                     agent
        metered POST   /v1/ocr                                    document
        metered POST   /v1/moderations                            embedding
        metered POST   /v1/chat/moderations                       embedding
        metered POST   /v1/classifications                        embedding
        metered POST   /v1/chat/classifications                   embedding
        free    POST   /v1/responses/input_tokens                 {COUNTED}
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        free    GET    /v1/files                                  {STORED}
        metered POST   /v1/batch/jobs                             batch
        read    POST   /v1/files                                  names what a batch will ask
        read    GET    /v1/files/{{}}/content                     {BILL}
        read    GET    /v1/batch/jobs/{{}}                        {BILL}
        read    POST   /v1/batch/jobs/{{}}/cancel                 {BILL}
        read    GET    /v1/batch/jobs                             whose results a file has
        free    GET    /v1/files/{{}}                             {STORED}
        free    DELETE /v1/files/{{}}                             {STORED}
        free    GET    /v1/agents                                 {STORED}
        free    POST   /v1/agents                                 {STORED}
        free    GET    /v1/agents/{{}}                            {STORED}
        free    PATCH  /v1/agents/{{}}                            {STORED}
        free    DELETE /v1/agents/{{}}                            {STORED}
        refused GET    /v1/files/x/url                            a batch's results could be read by it, unseen
        refused POST   /v1/conversations                          its connectors have no price
        refused POST   /v1/conversations/x                        the same, and no model is named
        refused POST   /v1/conversations/x/restart                the same
        refused POST   /v1/audio/speech                           no price for it is known
        refused POST   /v1/libraries/x/documents                  what is put in is read at a price no answer states
        refused POST   /v1/connectors/x/tools/y/call              connectors have no price
        refused POST   /v1/context/search-indexes/x/search        no price for it is known
        refused POST   /v1/workflows/x/execute                    runs models, whose bill is in no answer
    """,
    "zai": f"""
        metered POST   /api/paas/v4/chat/completions              chat
        metered POST   /api/paas/v4/embeddings                    embedding
        free    GET    /api/paas/v4/models                        {NAMES}
        free    GET    /api/paas/v4/models/{{}}                   {NAMES}
        refused POST   /api/paas/v4/images/generations            billed by the picture
        refused POST   /api/paas/v4/videos/generations            billed by the piece
    """,
    "snowflake": """
        metered POST   /api/v2/cortex/v1/chat/completions         chat
        refused POST   /api/v2/cortex/inference:complete          not metered yet
    """,
    "writer": f"""
        metered POST   /v1/chat                                   chat
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        refused POST   /v1/completions                            not metered yet
        refused POST   /v1/applications/x                         runs models, whose bill is in no answer
    """,
    "voyageai": """
        metered POST   /v1/embeddings                             embedding
        metered POST   /v1/rerank                                 rerank
        refused POST   /v1/multimodalembeddings                   billed by the pixel
        refused POST   /v1/contextualizedembeddings               not metered yet
    """,
    "google-openai": f"""
        metered POST   /v1beta/openai/chat/completions            chat
        metered POST   /v1beta/openai/embeddings                  embedding
        free    GET    /v1beta/openai/models                      {NAMES}
        free    GET    /v1beta/openai/models/{{}}                 {NAMES}
        refused POST   /v1beta/openai/images/generations          billed by the picture
    """,
    "bedrock-mantle": f"""
        metered POST   <|/openai>/v1/chat/completions             chat
        metered POST   <|/openai>/v1/responses                    response
        free    GET    <|/openai>/v1/models                       {NAMES}
        free    GET    <|/openai>/v1/models/{{}}                  {NAMES}
    """,
    "huggingface": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/responses                              response
        metered POST   /v1/embeddings                             embedding
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        refused POST   /hf-inference/models/x                     billed by the second
    """,
    "portkey": f"""
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/completions                            completion
        metered POST   /v1/embeddings                             embedding
        metered POST   /v1/responses                              response
        metered POST   /v1/prompts/{{}}/completions               chat
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
    """,
    "openai-compatible": f"""
        metered POST   <|/v1>/chat/completions                    chat
        metered POST   <|/v1>/completions                         completion
        metered POST   <|/v1>/embeddings                          embedding
        metered POST   <|/v1>/responses                           response
        metered POST   <|/v1>/audio/transcriptions                sound
        metered POST   <|/v1>/audio/translations                  sound
        metered POST   <|/v1>/audio/speech                        speech
        free    GET    <|/v1>/models                              {NAMES}
        free    GET    <|/v1>/models/{{}}                         {NAMES}
        refused POST   /v1/images/generations                     billed by the picture
        refused POST   /v1/messages                               another dialect than the format's
    """,
    "anthropic": f"""
        metered POST   /v1/messages                               messages
        metered POST   /v1/complete                               complete
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/messages/batches                       messages-batch
        read    GET    /v1/messages/batches/{{}}                  {BILL}
        read    POST   /v1/messages/batches/{{}}/cancel           {BILL}
        read    GET    /v1/messages/batches/{{}}/results          {BILL}
        free    GET    /v1/messages/batches                       names and states
        free    DELETE /v1/messages/batches/{{}}                  {STORED}
        free    POST   /v1/messages/count_tokens                  {COUNTED}
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        free    GET    /v1/files                                  {STORED}
        free    POST   /v1/files                                  {STORED}
        free    GET    /v1/files/{{}}                             {STORED}
        free    GET    /v1/files/{{}}/content                     {STORED}
        free    DELETE /v1/files/{{}}                             {STORED}
        refused POST   /v1/sessions                               an agent's bill is in no answer
        refused POST   /v1/sessions/x/events                      an agent's bill is in no answer
        refused POST   /v1/deployments/x/run                      an agent's bill is in no answer
        refused POST   /v1/dreams                                 runs models, whose bill is in no answer
        refused POST   /v1/environments                           goes with agents
        refused POST   /v1/organizations/spend_limits             an administrator's business
    """,
    "google": f"""
        metered POST   /<v1|v1beta|v1alpha>/models/{{}}:generateContent        content
        metered POST   /<v1|v1beta|v1alpha>/models/{{}}:streamGenerateContent  content
        metered POST   /<v1|v1beta|v1alpha>/models/{{}}:embedContent           content-embedding
        metered POST   /<v1|v1beta|v1alpha>/models/{{}}:batchEmbedContents     content-embeddings
        metered POST   /<v1|v1beta|v1alpha>/interactions                       interaction
        metered POST   /<v1|v1beta|v1alpha>/decisions                          decision
        metered POST   /<v1|v1beta|v1alpha>/models/{{}}:batchGenerateContent   content-batch
        read    GET    /<v1|v1beta|v1alpha>/batches/{{}}                       {BILL}
        read    GET    <|/download>/<v1|v1beta|v1alpha>/files/{{}}:download    {BILL}
        read    GET    /<v1|v1beta|v1alpha>/batches                            whose results a file has
        free    POST   /<v1|v1beta|v1alpha>/batches/{{}}:cancel                ends what costs
        free    DELETE /<v1|v1beta|v1alpha>/batches/{{}}                       {STORED}
        metered POST   /v1beta/openai/chat/completions                         chat
        metered POST   /v1beta/openai/embeddings                               embedding
        free    POST   /<v1|v1beta|v1alpha>/models/{{}}:countTokens            {COUNTED}
        free    GET    /<v1|v1beta|v1alpha>/models                             {NAMES}
        free    GET    /<v1|v1beta|v1alpha>/models/{{}}                        {NAMES}
        free    GET    /v1beta/openai/models                                   {NAMES}
        free    GET    /v1beta/openai/models/{{}}                              {NAMES}
        free    DELETE /<v1|v1beta|v1alpha>/interactions/{{}}                  {STORED}
        free    GET    /<v1|v1beta|v1alpha>/cachedContents                     billed when it was made
        free    GET    /<v1|v1beta|v1alpha>/cachedContents/{{}}                billed when it was made
        free    DELETE /<v1|v1beta|v1alpha>/cachedContents/{{}}                ends what costs
        free    GET    /<v1|v1beta|v1alpha>/files                              storing is free
        free    POST   /<v1|v1beta|v1alpha>/files                              storing is free
        free    POST   /upload/<v1|v1beta|v1alpha>/files                       storing is free
        free    GET    /<v1|v1beta|v1alpha>/files/{{}}                         storing is free
        free    DELETE /<v1|v1beta|v1alpha>/files/{{}}                         storing is free
        free    POST   /<v1|v1beta|v1alpha>/fileSearchStores                   storing is free
        free    GET    /<v1|v1beta|v1alpha>/fileSearchStores                   storing is free
        free    GET    /<v1|v1beta|v1alpha>/fileSearchStores/{{}}              storing is free
        free    DELETE /<v1|v1beta|v1alpha>/fileSearchStores/{{}}              storing is free
        free    GET    /<v1|v1beta|v1alpha>/fileSearchStores/{{}}/documents    storing is free
        free    GET    /<v1|v1beta|v1alpha>/fileSearchStores/{{}}/documents/{{}}     storing is free
        free    DELETE /<v1|v1beta|v1alpha>/fileSearchStores/{{}}/documents/{{}}     storing is free
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}:generateContent        content
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}:streamGenerateContent  content
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}:embedContent           content-embedding
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}:predict                prediction
        metered POST   /<v1|v1beta1>/publishers/google/models/{{}}:generateContent        content
        metered POST   /<v1|v1beta1>/publishers/google/models/{{}}:streamGenerateContent  content
        metered POST   /<v1|v1beta1>/publishers/google/models/{{}}:embedContent           content-embedding
        metered POST   /<v1|v1beta1>/publishers/google/models/{{}}:predict                prediction
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/anthropic/models/{{}}:rawPredict        claude
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/anthropic/models/{{}}:streamRawPredict  claude
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/interactions                                       interaction
        metered POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/decisions                                          decision
        free    POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}:<countTokens|computeTokens>  {COUNTED}
        free    POST   /<v1|v1beta1>/publishers/google/models/{{}}:<countTokens|computeTokens>                               {COUNTED}
        free    POST   /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/anthropic/models/count-tokens:rawPredict        {COUNTED}
        free    GET    /<v1|v1beta1>/projects/{{}}/locations/{{}}/publishers/google/models/{{}}  {NAMES}
        free    GET    /<v1|v1beta1>/publishers/google/models/{{}}                               {NAMES}
        free    DELETE /<v1|v1beta1>/projects/{{}}/locations/{{}}/interactions/{{}}              {STORED}
        free    GET    /<v1|v1beta1>/projects/{{}}/locations/{{}}/cachedContents                 billed when it was made
        free    GET    /<v1|v1beta1>/projects/{{}}/locations/{{}}/cachedContents/{{}}            billed when it was made
        free    DELETE /<v1|v1beta1>/projects/{{}}/locations/{{}}/cachedContents/{{}}            ends what costs
        refused POST   /v1beta/cachedContents                                  billed by the hour that it is kept
        refused PATCH  /v1beta/cachedContents/x                                keeps it longer
        refused POST   /v1beta1/projects/p/locations/l/cachedContents          billed by the hour that it is kept
        refused PATCH  /v1beta1/projects/p/locations/l/cachedContents/x        keeps it longer
        refused POST   /upload/v1beta/fileSearchStores/x:uploadToFileSearchStore  it is embedded, at a price no answer states
        refused POST   /v1beta/fileSearchStores/x:importFile                   it is embedded, at a price no answer states
        refused POST   /v1beta/models/imagen-4.0-generate-001:predict          billed by the picture
        refused POST   /v1beta/models/veo-3.1-generate-preview:predictLongRunning  billed by the second of what it makes
        refused GET    /v1beta/models/veo-3.1-generate-preview/operations/x    goes with videos
        refused POST   /v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1:predictLongRunning  the same
        refused POST   /v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1:fetchPredictOperation  the same
        refused POST   /v1beta1/projects/p/locations/l/publishers/google/models/imagen-4.0-generate-001:predict  billed by the picture
        refused POST   /v1beta1/projects/p/locations/l/publishers/mistralai/models/x:rawPredict  answers are not read
        refused POST   /v1beta1/projects/p/locations/l/endpoints/openapi/chat/completions  not metered yet
        refused POST   /v1beta1/projects/p/locations/l/endpoints/x:predict     billed by the hour
        refused POST   /v1beta1/projects/p/locations/l/tuningJobs              billed after the answer
        refused POST   /v1beta/tunedModels                                     billed after the answer
        refused POST   /v1beta/tunedModels/x:generateContent                   no price for it is known
        refused POST   /v1beta/models/aqa:generateAnswer                       no price for it is known
        refused POST   /v1beta/triggers/x/executions                           an agent's bill is in no answer
        refused POST   /v1beta/agents                                          goes with agents
        refused POST   /v1beta/environments                                    goes with agents
        refused POST   /v1beta/voices                                          what a voice costs is in no answer
        refused POST   /v1alpha/auth_tokens                                    calls made with it go past the gateway
        socket  GET    /ws/google.ai.generativelanguage.<v1|v1beta|v1alpha>.GenerativeService.BidiGenerateContent each turn held from the setup on
        socket  GET    /ws/google.cloud.aiplatform.<v1|v1beta1>.LlmBidiService/BidiGenerateContent each turn held from the setup on
        refused GET    /ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained a token that was made elsewhere says what it is
        refused GET    /ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic what music costs is in no message
    """,
    "ollama": f"""
        metered POST   /api/chat                                  chat
        metered POST   /api/generate                              completion
        metered POST   /api/embed                                 embedding
        metered POST   /api/embeddings                            completion
        metered POST   /v1/chat/completions                       chat
        metered POST   /v1/completions                            completion
        metered POST   /v1/embeddings                             embedding
        free    GET    /api/tags                                  {NAMES}
        free    POST   /api/show                                  {NAMES}
        free    GET    /api/ps                                    {NAMES}
        free    GET    /api/version                               {NAMES}
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        refused POST   /api/web_search                            no price for it is known
        refused POST   /api/web_fetch                             no price for it is known
        refused POST   /api/pull                                  an administrator's business
        refused DELETE /api/delete                                an administrator's business
    """,
    "cohere": f"""
        metered POST   /<v1|v2>/chat                              chat
        metered POST   /<v1|v2>/embed                             texts
        metered POST   /<v1|v2>/rerank                            rerank
        metered POST   /v2/audio/transcriptions                   sound
        free    GET    /v1/models                                 {NAMES}
        free    GET    /v1/models/{{}}                            {NAMES}
        free    POST   /v1/tokenize                               {COUNTED}
        free    POST   /v1/detokenize                             {COUNTED}
        free    POST   /v1/check-api-key                          {NAMES}
        refused POST   /v1/generate                               retired
        refused POST   /v1/summarize                              retired
        refused POST   /v1/classify                               no price for it is known
        refused POST   /v2/parse                                  no price for it is known
        refused POST   /v1/embed-jobs                             its bill comes after the answer
        refused POST   /v2/batches                                its bill comes after the answer
        refused POST   /v1/finetuning/finetuned-models            billed after the answer
        refused POST   /compatibility/v1/chat/completions         another dialect than the format's
    """,
    "bedrock": f"""
        metered POST   /model/{{arn}}/converse                    converse
        metered POST   /model/{{arn}}/converse-stream             converse
        metered POST   /model/{{arn}}/invoke                      claude
        metered POST   /model/{{arn}}/invoke-with-response-stream claude
        free    POST   /model/{{arn}}/count-tokens                {COUNTED}
        refused POST   /async-invoke                              its bill comes after the answer
        refused POST   /guardrail/x/version/1/apply               billed by the text it reads
        refused POST   /guardrail-checks/invoke                   billed by the text it reads
        refused POST   /model/x/invoke-with-bidirectional-stream  not metered yet
    """,
}
"""By format. What is here must hold for good."""

REFUSED_TODAY: dict[str, tuple[str, ...]] = {
    "x-ai": ("POST /v1/batches", "GET /v1/batches/x", "POST /v1/batches/x/requests"),
    "together": ("POST /v1/batches", "GET /v1/batches/x", "GET /v1/files/x/content"),
    "google": (
        "GET /v1beta/interactions/x",
        "POST /v1beta/interactions/x/cancel",
        "POST /v1beta/models/gemini-embedding-001:asyncBatchEmbedContent",
        "POST /v1beta1/projects/p/locations/l/batchPredictionJobs",
    ),
}
"""What is to be metered one day: further batches, what is read later. Whoever meters one moves it up."""

REFUSED_BY_CONTENT: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("openai", "/v1/images/generations", {"model": "dall-e-3", "prompt": "a cat"}),
    ("groq", "/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hi", "background": True}),
    ("x-ai", "/v1/chat/completions", {"model": "grok-4", "messages": [], "deferred": True}),
    ("google", "/v1beta/interactions", {"model": "gemini-2.5-flash", "input": "hi", "background": True}),
    ("google", "/v1beta/interactions", {"model": "gemini-2.5-flash", "input": "hi", "service_tier": "deferred"}),
)
"""Metered endpoints, and what in their bodies is refused: (format, path, body)."""

_MESSAGES = [{"role": "user", "content": "hi"}]
_CONTENT = {"parts": [{"text": "hi"}], "role": "user"}
_MESSAGE = {"messages": _MESSAGES, "max_tokens": 5}
_BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": _MESSAGES, "message": "hi", "max_tokens": 5},
    "completion": {"prompt": "hi", "max_tokens": 5},
    "embedding": {"input": "hi"},
    "texts": {"texts": ["hi"], "input_type": "classification"},
    "response": {"input": "hi", "max_output_tokens": 5},
    "image": {"prompt": "a cat"},
    "speech": {"input": "hi", "voice": "alloy"},
    "rerank": {"query": "hi", "documents": ["a", "b"]},
    "batch": {"input_file_id": "file_x", "input_files": ["file_x"], "endpoint": "/v1/chat/completions"},
    "run": {"assistant_id": "asst_x"},
    "messages-batch": {"requests": [{"custom_id": "a", "params": {**_MESSAGE, "model": "claude-sonnet-4-5"}}]},
    "content-batch": {"batch": {"input_config": {"requests": {"requests": [{"request": {"contents": [_CONTENT]}}]}}}},
    "agent": {"agent_id": "ag_x", "messages": _MESSAGES},
    "document": {"document": {"type": "document_url", "document_url": "https://example.com/a.pdf"}, "pages": [0]},
    "messages": _MESSAGE,
    "complete": {"prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 5},
    "content": {"contents": [_CONTENT]},
    "content-embedding": {"content": _CONTENT},
    "content-embeddings": {"requests": [{"content": _CONTENT}]},
    "prediction": {"instances": [{"content": "hi"}]},
    "interaction": {"input": "hi"},
    "decision": {"input": "hi", "questions": {}},
    "claude": {"messages": _MESSAGES, "max_tokens": 5, "anthropic_version": "bedrock-2023-05-31"},
    "converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 5}},
}
_FORMS = {"sound": (SOUND,), "image-form": (("prompt", b"a cat"), ("image", b"\x89PNG", ' filename="a.png"'))}

_MODELS = {
    "openai": "gpt-4o-mini",
    "azure": "gpt-4o-mini",
    "groq": "llama-3.3-70b-versatile",
    "deepseek": "deepseek-chat",
    "x-ai": "grok-4",
    "mistral": "mistral-small-latest",
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "cohere": "command-a-03-2025",
    "bedrock": "us.amazon.nova-lite-v1:0",
}
_MODELS_BY_BODY = {
    "image": "gpt-image-1",
    "image-form": "gpt-image-1",
    "sound": "whisper-1",
    "speech": "tts-1",
    "document": "mistral-ocr-latest",
    "complete": "claude-2.1",
    "prediction": "text-embedding-005",
}
_WITHOUT_MODEL = frozenset(
    {
        "messages-batch",
        "content-batch",
        "content",
        "content-embedding",
        "content-embeddings",
        "prediction",
        "claude",
        "converse",
    }
)


@dataclass(frozen=True)
class Entry:
    """One line, for one of its paths."""

    format: str
    must: Must
    method: str
    template: str
    """As `Route.path` spells it."""
    detail: str
    """The kind of body of what is metered, the reason of all else."""

    @property
    def model(self) -> str:
        return _MODELS_BY_BODY.get(self.detail) or _MODELS.get(self.format, "some-model")

    @property
    def path(self) -> str:
        """A path as it is called."""
        head, place, tail = self.template.rpartition("{}")
        return (head.replace("{}", "x") + (place and self.model) + tail).replace(
            "{arn}", self.model.replace(":", "%3A")
        )

    @property
    def body(self) -> tuple[bytes, str]:
        """The body of a call, and its type."""
        if self.method == "GET":
            return b"", ""
        if self.detail in _FORMS:
            return form(("model", self.model.encode()), *_FORMS[self.detail]), TYPE
        named = {} if self.detail in _WITHOUT_MODEL or self.detail == "agent" else {"model": self.model}
        return json.dumps({**named, **_BODIES.get(self.detail, {})}).encode(), "application/json"


def entries() -> Iterator[Entry]:
    """Yield every entry of LIST, and of REFUSED_TODAY as refused."""
    for spoken, table in LIST.items():
        for line in filter(str.strip, table.splitlines()):
            must, method, path, detail = line.split(maxsplit=3)
            for template in _either(path):
                yield Entry(spoken, must, method, template, detail.strip())  # type: ignore[arg-type]
    for spoken, lines in REFUSED_TODAY.items():
        for line in lines:
            method, path = line.split()
            yield Entry(spoken, "refused", method, path, "not metered yet")


def _either(path: str) -> Iterator[str]:
    parts = re.split(r"<([^>]*)>", path)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return map("".join, product(*choices))
