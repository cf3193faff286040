"""The bounds of one request, by flag; with hyphens they are options of ``inkwell serve``.

They stand alone, as ``inkwell --help`` names them and imports nothing that takes time.
"""

BOUNDS = {
    "max_request_mib": 64,
    "max_requests_mib": 1024,
    "max_instances": 10_000,
    "max_count": 1000,
    "max_steps": 100,
}
