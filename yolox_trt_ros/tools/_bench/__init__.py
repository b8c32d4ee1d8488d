"""The benchmarks behind ``bench``.

Each has ``add_arguments(parser)``, ``measure(args) -> dict`` and ``rows(dict) -> table rows``.
"""
