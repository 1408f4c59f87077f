"""The providers' dialects: request bytes → Call, response bytes → Reading. Pure: no I/O, no clock, no prices."""
