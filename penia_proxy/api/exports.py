"""
Send usage as a file.

Its one job: `/api/v1/usage/export`: the records that `/usage/records` would list, oldest first, as a file.
Rules: streamed: memory does not grow with the file, a client that reads slowly is waited for, and one that leaves ends
it. The file is the ledger of the moment it was asked for.
"""

import asyncio

from penia_proxy.api.endpoint import Call, Endpoint, Streamed
from penia_proxy.api.fields import Nothing, Sent, Since, Until
from penia_proxy.api.usage import Matching, Span, filter_of
from penia_proxy.config import FormatName
from penia_proxy.errors import ArchiveUnavailable, NotInstalled, Overloaded
from penia_proxy.export.formats import FORMATS, exported, format_of


class ExportQuery(Matching, Sent):
    """The filters of `/usage/records`."""

    format: FormatName = "csv"
    start_date: Since | None = None
    end_date: Until | None = None


async def export_usage(call: Call[ExportQuery, Nothing]) -> Streamed:
    """Download usage records as CSV, JSON Lines, Parquet or FOCUS."""
    query, services = call.query, call.services
    written = await asyncio.to_thread(format_of, query.format)
    asked = filter_of(query, Span(query.start_date, query.end_date))
    await services.ledger.caught_up()
    await services.ledger.lists.require(asked)
    return Streamed(exported(services.config.ledger.url, asked, written), written.media_type, written.file_name(asked))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/usage/export",
        handler=export_usage,
        tag="usage",
        query=ExportQuery,
        media=tuple(dict.fromkeys(written.media_type for written in FORMATS.values())),
        errors=(NotInstalled, Overloaded, ArchiveUnavailable),
    ),
)
