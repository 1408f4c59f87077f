"""
Read Google's ``usageMetadata``.

Its one job: one report as disjoint counts. Rules: the prompt includes what came from a cache; candidates exclude
thoughts; tool use is input on top; zero fields are left out; with ``enum-encoding=int`` names are numbers. Sources:
wire_formats.md §1.3; google-genai 3.4.0's types (GenerateContentResponseUsageMetadata, MediaModality, TrafficType).
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.usage import Usage
from penia_proxy.wire.content import dicts
from penia_proxy.wire.reported import count_in, required

_MODALITIES = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
_TRAFFIC: Mapping[object, str] = {
    "ON_DEMAND": "standard",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
    1: "standard",
    2: "provisioned_throughput",
}

_MAIN_COUNTS = frozenset({"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"})


def usage_of(report: object) -> Usage | None:
    """Return the usage of one ``usageMetadata``, None where it has no count to believe (some have a tier only)."""
    if not isinstance(report, dict) or not _MAIN_COUNTS & report.keys():
        return None
    prompt = required(report, "promptTokenCount")
    candidates = required(report, "candidatesTokenCount")
    thoughts = required(report, "thoughtsTokenCount")
    tools = required(report, "toolUsePromptTokenCount")
    if prompt is None or candidates is None or thoughts is None or tools is None:
        return None
    # Embeddings spell their details in the singular.
    given = modalities(report.get("promptTokensDetails") or report.get("promptTokenDetails"))
    cached = modalities(report.get("cacheTokensDetails"))
    made = modalities(report.get("candidatesTokensDetails"))
    audio = min(given.get("AUDIO", 0), prompt)
    image = min(given.get("IMAGE", 0), prompt - audio)
    video = min(given.get("VIDEO", 0), prompt - audio - image)
    text = prompt - audio - image - video
    cached_all = min(count_in(report, "cachedContentTokenCount"), prompt)
    cached_audio = min(cached.get("AUDIO", 0), audio, cached_all)
    cached_image = min(cached.get("IMAGE", 0), image, cached_all - cached_audio)
    cached_video = min(cached.get("VIDEO", 0), video, cached_all - cached_audio - cached_image)
    cached_text = min(cached_all - cached_audio - cached_image - cached_video, text)
    # What is cached and neither text nor told apart is video, then images, then audio.
    untold = cached_all - cached_audio - cached_image - cached_video - cached_text
    more_video = min(untold, video - cached_video)
    more_image = min(untold - more_video, image - cached_image)
    cached_video += more_video
    cached_image += more_image
    cached_audio += untold - more_video - more_image
    audio_out = min(made.get("AUDIO", 0), candidates)
    image_out = min(made.get("IMAGE", 0), candidates - audio_out)
    video_out = min(made.get("VIDEO", 0), candidates - audio_out - image_out)
    return Usage(
        input=text - cached_text + tools,
        cache_read=cached_text + cached_video,
        cache_read_audio=cached_audio,
        cache_read_image=cached_image,
        input_audio=audio - cached_audio,
        input_image=image - cached_image,
        input_video=video - cached_video,
        output=candidates - audio_out - image_out - video_out,
        reasoning=thoughts,
        output_audio=audio_out,
        output_image=image_out,
        output_video=video_out,
        service_tier=_tier(report),
    )


def modalities(details: object) -> dict[str, int]:
    """Return the tokens of each modality, by its name."""
    counts: dict[str, int] = {}
    for detail in dicts(details):
        kind = detail.get("modality")
        name = _MODALITIES.get(kind) if isinstance(kind, int) else kind
        if isinstance(name, str):
            counts[name.upper()] = counts.get(name.upper(), 0) + count_in(detail, "tokenCount")
    return counts


def _tier(report: Mapping[str, Any]) -> str | None:
    """Return the tier that was served: the Gemini API's ``serviceTier`` or Vertex's ``trafficType``."""
    tier = report.get("serviceTier")
    if isinstance(tier, str) and tier:
        return tier.lower()
    traffic = report.get("trafficType")
    return _TRAFFIC.get(traffic) if isinstance(traffic, str | int) else None
