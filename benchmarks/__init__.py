"""The benchmarks behind ``make bench``; not installed.

Each has ``add_arguments(parser)``, ``measure(args) -> dict`` and ``rows(dict) -> table rows``.
"""
