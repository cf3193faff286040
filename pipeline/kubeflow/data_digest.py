"""The first task of a run on a cluster: it takes the digests of the data that the run shall read.

KFP's launcher starts ``python -m pipeline.kubeflow.data_digest {{$}}``. Contract: an output
parameter per reader of the data, with the digest of its files; the backend hands it to the reader,
so that its cache key changes with the data, and the reader fails if it finds other files. Exit
code 2, and one sentence as the last line of the log, if the data is missing or cannot be read.
Imports nothing heavy unless the data is in a bucket.
"""

import json
import sys
from collections.abc import Sequence

from components.data_gate.content import digests
from core.config import InputError
from core.files import write_whole
from pipeline.kubeflow.cluster import DATA_DIGEST
from pipeline.kubeflow.spec import DATA_URI


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the digests to the files that the executor input names; returns the exit code."""
    [message] = sys.argv[1:] if argv is None else argv
    request = json.loads(message)
    data_uri = request["inputs"]["parameterValues"][DATA_URI]
    try:
        found = digests(data_uri)
    except InputError as error:
        print(f"{DATA_DIGEST}: {error}", file=sys.stderr, flush=True)
        return 2
    for name, output in request["outputs"]["parameters"].items():
        write_whole(output["outputFile"], found[name])
        print(f"{data_uri}, as {name} reads it: {found[name]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
