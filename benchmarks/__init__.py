"""Speed, as ratios against a bare relay and a direct connection measured in the same run. Never part of the tests."""
