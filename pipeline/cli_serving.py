"""The commands around served models: serve, models, promote, rollback, canary, predict, generate.

Contract: as ``pipeline.cli``: heavy imports inside the commands, a mistake is one sentence and exit
code 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli_common import console, leave, user_errors

_Serving = Annotated[
    Path, typer.Option("--serving", metavar="DIR", help="Where the pushed versions are.")
]
_Server = Annotated[
    str, typer.Option("--server", metavar="HOST:PORT", help="The model server's REST address.")
]
_Label = Annotated[
    str | None, typer.Option(metavar="LABEL", help="Ask the version with this label.")
]
_Model = Annotated[str, typer.Argument(metavar="MODEL", help="autoencoder, diffusion or gan.")]
_SERVING, _SERVER = Path("serving_models"), "localhost:8501"
_PREDICT = """Sends a picture, or a batch of them, to a signature of a model.

Examples:

    inkwell predict autoencoder anomaly_score --image digit.png
    inkwell predict autoencoder serving_default --image photo.jpg --fit -o back.png
    inkwell predict diffusion denoise --image noisy.png --noise-level 0.4 -o clean.png

Pictures come out as PNG, everything else as JSON on standard output.
"""
_CANARY = """Compares two versions of a model on the same held-out images.

A share of the requests goes to the label canary, the rest to stable. Latency, errors and the
distribution of the model's score are told beside each other.
"""


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(serve)
    app.command()(models)
    app.command()(promote)
    app.command()(rollback)
    app.command(help=_CANARY)(canary)
    app.command(help=_PREDICT)(predict)
    app.command()(generate)


def serve(
    models: Annotated[
        str, typer.Option(metavar="all|NAMES", help="Names with commas between, or all.")
    ] = "all",
    serving: _Serving = _SERVING,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 for every one.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="gRPC.")] = 8500,
    rest_port: Annotated[int, typer.Option(metavar="PORT", help="REST.")] = 8501,
    playground: Annotated[
        bool, typer.Option("--playground", help="A page to draw on and try the models.")
    ] = False,
    playground_port: Annotated[int, typer.Option(metavar="PORT", help="Its port.")] = 8502,
) -> None:
    """Serves the pushed models with TensorFlow Serving, or with this project's own server."""
    with user_errors():
        from serving.serve import ServeOptions
        from serving.serve import serve as serve_until_told

        chosen = () if models == "all" else tuple(name for name in models.split(",") if name)
        options = ServeOptions(
            serving, chosen, host, port, rest_port, playground_port if playground else None
        )
        code = serve_until_told(options, typer.echo)
    leave(code)


def models(serving: _Serving = _SERVING, server: _Server = _SERVER) -> None:
    """Lists the versions: verdict, key figure, label, and state where a server answers."""
    with user_errors():
        from pipeline.summary import models_table, served_versions
        from serving.client import Client
        from serving.errors import RequestError
        from serving.releases import read_releases

        found = served_versions(serving)
        if not found:
            typer.echo(f"There is no model in {serving} yet; push some with: inkwell run")
            return
        states: dict[tuple[str, int], str] = {}
        for model in {version.model for version in found}:
            with Client(model, server, timeout_s=1.0) as client:
                try:
                    answered = client.states()
                except RequestError as error:
                    if error.code == "UNAVAILABLE":
                        break
                    continue
                states |= {(model, version): state for version, state in answered.items()}
        console().print(models_table(found, read_releases(serving), states))
        if not states:
            typer.echo(f"No model server answers at {server}, so no states are shown.")


def promote(
    model: _Model,
    version: Annotated[str, typer.Argument(metavar="VERSION|newest")],
    label: Annotated[str, typer.Option(metavar="stable|canary", help="Which label.")] = "stable",
    serving: _Serving = _SERVING,
    server: _Server = _SERVER,
) -> None:
    """Labels a version stable (or canary); `newest` goes back to serving the newest always."""
    with user_errors():
        from serving.errors import ServingError
        from serving.releases import promoted

        if version != "newest" and not version.isdecimal():
            raise ServingError(f"A version is a whole number, or newest, not {version!r}.")
        number = None if version == "newest" else int(version)
        _release(model, promoted(serving, model, number, label), serving, server)


def rollback(model: _Model, serving: _Serving = _SERVING, server: _Server = _SERVER) -> None:
    """Gives clients the version that was stable before, or the next older one."""
    with user_errors():
        from serving.releases import rolled_back

        _release(model, rolled_back(serving, model), serving, server)


def _release(model: str, release, serving: Path, server: str) -> None:
    from serving.client import Client
    from serving.errors import RequestError
    from serving.releases import apply

    with Client(model, server, timeout_s=2.0) as client:
        try:
            client.states()
            is_up = True
        except RequestError as error:
            is_up = error.code != "UNAVAILABLE"

        def is_served(version: int) -> bool:
            try:
                return client.states().get(version) == "AVAILABLE"
            except RequestError:
                return False

        apply(serving, model, release, is_served if is_up else None)
    words = ", ".join(f"{label} is version {v}" for label, v in release.labels.items())
    typer.echo(f"{model}: {words or 'the newest version is served, without labels'}.")
    if not is_up:
        typer.echo(f"No model server answers at {server}; the next one reads this as it starts.")


def canary(
    model: _Model,
    share: Annotated[float, typer.Option(metavar="SHARE", help="Of requests, to canary.")] = 0.2,
    requests: Annotated[int, typer.Option(metavar="N", help="In all.")] = 500,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="IDX files; the test images are sent.")
    ] = Path("data/mnist"),
    seed: Annotated[int, typer.Option(metavar="N")] = 0,
    server: _Server = _SERVER,
) -> None:
    with user_errors():
        import numpy as np

        from components.idx_example_gen.idx import find_files, read_images
        from serving.canary import compare, comparison_table

        images = read_images(find_files(str(data), "test")[0])
        images = images[..., None].astype("float32") / np.float32(255)
        result = compare(model, server, images, share, requests, seed)
        console().print(comparison_table(result))
        typer.echo(result.sentence())


def predict(
    model: _Model,
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE")],
    image: Annotated[
        list[Path], typer.Option("--image", metavar="FILE", help="28 x 28, grey; may be repeated.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="PNG to write.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Make any picture of a digit like MNIST's.")
    ] = False,
    noise_level: Annotated[
        float | None, typer.Option(metavar="SIGMA", help="Deviation of the noise in [0, 1].")
    ] = None,
    label: _Label = None,
    server: _Server = _SERVER,
) -> None:
    with user_errors():
        import json

        import numpy as np

        from serving.client import Client
        from serving.errors import ServingError
        from serving.images import as_images, read_image

        images = as_images([read_image(path, fit) for path in image])
        inputs = {"image": images}
        if noise_level is not None:
            inputs["noise_level"] = np.full(len(images), noise_level, "float32")
        with Client(model, server, label=label) as client:
            outputs = client.predict(signature, inputs)
        if "image" in outputs:
            if output is None:
                raise ServingError(f"{signature} answers with pictures; say where to: -o FILE.")
            _save(outputs.pop("image"), output)
        if outputs:
            typer.echo(json.dumps({name: value.tolist() for name, value in outputs.items()}))


def generate(
    model: _Model,
    count: Annotated[int, typer.Option(metavar="N", help="How many.")] = 64,
    seed: Annotated[int, typer.Option(metavar="N", help="The same gives the same.")] = 0,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Of the diffusion model: 20.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="PNG to write.")
    ] = Path("samples.png"),
    label: _Label = None,
    server: _Server = _SERVER,
) -> None:
    """Writes a picture of new digits."""
    with user_errors():
        from serving.client import Client

        if steps is None and model == "diffusion":
            steps = 20
        with Client(model, server, label=label, timeout_s=120) as client:
            images = client.generate(count, seed, steps)
        _save(images, output)


def _save(images, path: Path) -> None:
    """One picture as it is, several as a grid."""
    from serving.errors import ServingError
    from serving.images import grid, to_pil

    picture = to_pil(images)[0] if len(images) == 1 else grid(images)
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise ServingError(f"{path} cannot be written: {error}") from None
    typer.echo(f"{path}: {len(images)} image(s)")
