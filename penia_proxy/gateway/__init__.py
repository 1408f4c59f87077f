"""The data plane: caller, route, call, estimate, hold, relay, settle, publish (DESIGN.md §1)."""
