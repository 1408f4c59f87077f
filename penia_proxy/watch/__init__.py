"""What follows a call: may fail without harm."""
