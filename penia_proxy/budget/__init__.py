"""The rules of money: pure functions and values. No I/O, no clock, no event loop."""
