"""The commands that call a model server: canary, predict, generate.

Contract: as ``pipeline.cli.main``: heavy imports inside the commands; a mistake is one sentence and
exit code 2. A refusal by the server is one sentence too.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import (
    Json,
    Quiet,
    complain,
    console,
    model_names,
    print_json,
    tell,
    user_errors,
)
from serving.model_server.bounds import BOUNDS

Server = Annotated[
    str, typer.Option("--server", metavar="HOST:PORT", help="The model server's REST address.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="File with the token that the server asks."),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="Certificate of the server, or of its authority (PEM); the connection is encrypted.",
    ),
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="Time to wait for a server to start."),
]
Label = Annotated[str | None, typer.Option(metavar="LABEL", help="Label of the version to call.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="autoencoder, diffusion or gan.",
        autocompletion=model_names,
    ),
]
SERVER = "localhost:8501"
_STEPS = 20  # of the reverse process, where none are given
INT32_MAX = 2**31 - 1
_ANSWER_CHARACTERS = 300
# Codes that blame the request; all others blame the server.
_REFUSALS = (
    *("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED"),
)
_PREDICT = """Sends an image, or a batch of images, to a signature of a model.

Examples:

```
inkwell predict autoencoder anomaly_score --image digit.png
inkwell predict autoencoder serving_default --image a.jpg --fit -o b.png
inkwell predict diffusion denoise --image a.png --noise-level 0.4 -o b.png
```

Image outputs are written as PNG, all others as JSON to standard output.
"""
_CANARY = """Compares two versions of a model on the same held-out images.

A share of the requests goes to the label canary, the rest to stable. Latency, errors and the
distribution of the model's score are shown for both.

Examples:

```
inkwell canary autoencoder
inkwell canary gan --share 0.3 --requests 200 --data data/fashion
```
"""
_GENERATE = """Writes newly generated digits to a PNG file.

Examples:

```
inkwell generate gan --count 16 --seed 7
inkwell generate diffusion --count 4 --steps 50 -o four.png
inkwell generate gan --label canary
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(help=_CANARY)(canary)
    app.command(help=_PREDICT)(predict)
    app.command(help=_GENERATE)(generate)


def canary(
    model: Model,
    share: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of requests sent to the canary.")
    ] = 0.2,
    requests: Annotated[
        int, typer.Option(metavar="N", min=2, help="Total number of requests.")
    ] = 500,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory of images; those for the test are sent.")
    ] = Path("data/mnist"),
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Random seed of the chosen images.")
    ] = 0,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    with _plain_answers():
        import numpy as np

        from components.idx_example_gen.data import read_images
        from serving.canary import as_json as to_json
        from serving.canary import compare, comparison_table

        images = read_images(str(data), "test")
        images = images[..., None].astype("float32") / np.float32(255)
        result = compare(
            model, server_of(server, token_file, tls_ca), images, share, requests, seed, wait
        )
        if as_json:
            print_json({"model": model, **to_json(result), "sentence": result.sentence()})
            return
        console().print(comparison_table(result))
        tell(result.sentence())


def predict(
    model: Model,
    signature: Annotated[
        str, typer.Argument(metavar="SIGNATURE", help="Signature to call, such as denoise.")
    ],
    image: Annotated[
        list[Path], typer.Option("--image", metavar="FILE", help="Grey, 28 x 28; may be repeated.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="PNG file to write.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Scale and centre the image as MNIST's are.")
    ] = False,
    noise_level: Annotated[
        float | None, typer.Option(metavar="SIGMA", help="Standard deviation of the noise, 0 to 1.")
    ] = None,
    label: Label = None,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    wait: Wait = 0.0,
) -> None:
    with _plain_answers():
        import json

        import numpy as np

        from serving.checks import inputs_of
        from serving.client import Client
        from serving.errors import ServingError

        if noise_level is not None and not 0 <= noise_level <= 1:
            raise ServingError(f"--noise-level must be between 0 and 1, not {noise_level:g}.")
        images = np.concatenate([_read(path, fit) for path in image])
        inputs = {"image": images}
        if noise_level is not None:
            inputs["noise_level"] = np.full(len(images), noise_level, "float32")
        if output is not None:
            _check_picture(output)
        called = server_of(server, token_file, tls_ca)
        with Client(model, called, label=label, wait_s=wait) as client:
            _check_inputs(model, signature, inputs_of(client, signature), list(inputs))
            outputs = client.predict(signature, inputs)
        if "image" not in outputs and output is not None:
            raise ServingError(f"{signature} returns no images; leave out -o.")
        if "image" in outputs:
            if output is None:
                raise ServingError(f"{signature} returns images; name a file with -o FILE.")
            _save(outputs.pop("image"), output)
        if outputs:
            typer.echo(json.dumps({name: value.tolist() for name, value in outputs.items()}))


def generate(
    model: Model,
    count: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=INT32_MAX,
            help="Number of images, at most --max-count of inkwell serve "
            f"({BOUNDS['max_count']} by default).",
        ),
    ] = 64,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=-INT32_MAX - 1,
            max=INT32_MAX,
            help="Random seed; the same seed gives the same images.",
        ),
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=INT32_MAX,
            help=f"Sampling steps (diffusion only; {_STEPS} by default).",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="PNG file to write.")
    ] = Path("samples.png"),
    label: Label = None,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    wait: Wait = 0.0,
    quiet: Quiet = False,
) -> None:
    with _plain_answers():
        from serving.checks import inputs_of
        from serving.client import Client
        from serving.errors import ServingError

        _check_picture(output)
        called = server_of(server, token_file, tls_ca)
        with Client(model, called, label=label, timeout_s=120, wait_s=wait) as client:
            takes_steps = "steps" in inputs_of(client, "generate")
            if steps is not None and not takes_steps:
                raise ServingError(f"The model {model} takes no steps; leave out --steps.")
            if steps is None and takes_steps:
                steps = _STEPS
            images = client.generate(count, seed, steps)
        _save(images, output, quiet)


def server_of(address: str, token_file: Path | None, tls_ca: Path | None):
    """The server of the options; a token that would be sent in clear text is told.

    Raises:
        ServingError: The file of the token or of the certificate cannot be used.
    """
    from serving.access import host_name, is_loopback, read_token
    from serving.transports import Server as ModelServer

    token = read_token(token_file) if token_file else ""
    scheme, _, rest = address.rpartition("://")
    is_clear = scheme != "https" and tls_ca is None and not address.startswith("unix:")
    if token and is_clear and not is_loopback(host_name(rest.partition("/")[0])):
        complain(f"the token goes to {rest} unencrypted; use --tls-ca, or https://")
    return ModelServer(address, token, tls_ca)


@contextlib.contextmanager
def _plain_answers() -> Iterator[None]:
    """As ``user_errors``; also cuts a server's error message to one sentence.

    The exit code is 2 if the server refuses the request, 1 if the server fails.
    """
    with user_errors():
        from serving.errors import RequestError, ServingError

        try:
            yield
        except RequestError as error:
            if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
            words = _sentence(str(error))
            if error.code in _REFUSALS:
                raise ServingError(f"The server refuses this request: {words}") from None
            complain(f"The server failed ({error.code}): {words.rstrip('.')}; see its log.")
            raise typer.Exit(1) from None


def _sentence(words: str) -> str:
    """What a server says, on one line and without TensorFlow's dump of the graph."""
    import re

    from serving.model_server.errors import plain

    if "{{" in words or "Graph execution error" in words:
        words = plain(re.sub(r"\{\{function_node [^}]*\}\}\s*", "", words))
    words = " ".join(words.split())
    if len(words) > _ANSWER_CHARACTERS:
        words = words[: _ANSWER_CHARACTERS - 1] + "…"
    return words


def _read(path: Path, fit: bool):
    """The image of a file as an array [1, 28, 28, 1]; doubts are printed, with its name."""
    import warnings

    from serving.errors import ImageWarning, ServingError
    from serving.images import as_images, read_image

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImageWarning)
            images = as_images(read_image(path, fit))
    except ServingError as error:
        named = str(path) in str(error)
        raise ServingError(str(error) if named else f"{path}: {error}") from None
    for words in (str(w.message) for w in caught if issubclass(w.category, ImageWarning)):
        complain(words if str(path) in words else f"{path}: {words}")
    return images


def _check_inputs(model: str, signature: str, wanted: list[str], given: list[str]) -> None:
    """Raises ``ServingError`` unless the signature takes the ``given`` inputs."""
    from serving.errors import ServingError

    name = "noise_level"
    if name in wanted and name not in given:
        raise ServingError(
            f"The signature {signature} of {model} needs the noise level of the image; give it "
            "with --noise-level, as in --noise-level 0.4"
        )
    if name in given and name not in wanted:
        raise ServingError(
            f"The signature {signature} of {model} takes no noise level; leave out --noise-level."
        )
    if sorted(given) != wanted:
        raise ServingError(
            f"The signature {signature} of {model} takes {', '.join(wanted)}, but this command "
            "sends images only; call it from Python with serving.client."
        )


def _check_picture(path: Path) -> None:
    """Raises ``ServingError`` for a file that cannot be written, before anything is computed."""
    import os

    from PIL import Image

    from serving.errors import ServingError

    why = ""
    if path.is_dir():
        why = "it is a directory"
    elif path.suffix.lower() not in Image.registered_extensions():
        why = "its name ends in no format of images, such as .png"
    elif not path.parent.is_dir():
        why = f"there is no directory {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        why = "this user may not write there"
    if why:
        raise ServingError(f"{path} cannot be written: {why}; name another file with -o.")


def _save(images, path: Path, quiet: bool = False) -> None:
    """Saves one image as it is, several as a grid."""
    from serving.errors import ServingError
    from serving.images import grid, to_pil

    picture = to_pil(images)[0] if len(images) == 1 else grid(images)
    try:
        picture.save(path)
    except OSError as error:
        raise ServingError(f"{path} cannot be written ({error.strerror or error}).") from None
    if quiet:
        typer.echo(str(path))
    else:
        tell(f"{path}: {len(images)} image{'s' * (len(images) != 1)}")
