"""Penia: an LLM gateway that holds, meters and settles spend inline."""

__version__ = "0.1.0"
