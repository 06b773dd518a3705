"""`mtl serve`: a run behind an HTTP interface, on a page in the browser, or as a model in MLflow."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mtl.commands.arguments import add_import_option, import_modules
from mtl.log_filters import filter_logs
from mtl.problems import InputError, Problem
from mtl.serving.model_folder import (
    ServedModel,
    check_model_folder,
    is_model_folder,
    log_model,
    model_of_folder,
    write_model,
)
from mtl.serving.page_server import check_page_host, open_page
from mtl.serving.ports import address, require_free_port
from mtl.serving.scoring_server import scoring_server, wait_until_ready

DESCRIPTION = """Serves a run: POST texts to /invocations of MLflow's scoring server and get what mtl predict writes.
--page opens a page in the browser instead; --to, --log and --register write the model and start no server.
docs/serving.md describes all of them."""

_REQUEST = (
    "curl http://{address}/invocations -H 'Content-Type: application/json'"
    """ -d '{{"dataframe_records": [{{"text": "No fever since Tuesday."}}]}}'"""
)


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl serve RUN [--port P] [--host H] [--page | --to F | --log | --register NAME] [options]`.

    Raises:
        InputError: An option or the run is invalid, a file of a model was changed, or the port is in use.
    """
    options = _parser().parse_args(arguments[1:])
    if options.timeout is not None and options.timeout < 1:
        raise InputError(Problem("--timeout", f"must be at least 1 second, got {options.timeout}."))
    import_modules(options.modules)
    filter_logs()
    model = _model(options)
    if options.to is not None:
        write_model(model, options.to)
        print(f"Wrote {options.to}: an MLflow model. Loading it with MLflow runs its code.")
    elif options.log or options.register is not None:
        print(f"Logged {log_model(model, options.register)}.")
    elif options.page:
        check_page_host(options.host)
        require_free_port(options.host, options.port)
        _show_page(model, options)
    else:
        require_free_port(options.host, options.port)
        return _serve(model, options)
    return 0


def _model(options: argparse.Namespace) -> ServedModel:
    """What is served: a run, or what the folder of a model says.

    Raises:
        InputError: The folder of a model is given with options that it decides itself, or that write a model.
    """
    folder = Path(options.run)
    if not is_model_folder(folder):
        return ServedModel(options.run, options.task, options.mentions, options.modules)
    if options.task or options.mentions or options.modules:
        message = "must be left out, because a folder of a model says what it serves."
        raise InputError(Problem("--task", message, "Write the model again from its run."))
    if options.to is not None or options.log or options.register is not None:
        message = "must be left out, because RUN is the folder of a model already."
        raise InputError(Problem("--to", message, "Copy the folder, or give the run."))
    check_model_folder(folder)
    model = model_of_folder(folder)
    sys.path[:0] = [str(folder / "code")] if (folder / "code").is_dir() else []
    import_modules(model.modules)
    return model


def _serve(model: ServedModel, options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)  # already now, so that no weights stay in the temporary folder
    folder = Path(options.run)
    try:
        if is_model_folder(folder):
            return _run_server(folder, options)
        with TemporaryDirectory() as place:
            write_model(model, Path(place, "model"))
            return _run_server(Path(place, "model"), options)
    except KeyboardInterrupt:
        return 0


def _run_server(folder: Path, options: argparse.Namespace) -> int:
    with scoring_server(folder, options.host, options.port, options.timeout) as server:
        if not wait_until_ready(server, options.host, options.port):
            return server.returncode or 1
        request = _REQUEST.format(address=address(options.host, options.port))
        print(f"Ready, until Ctrl-C. A request:\n{request}", flush=True)
        return server.wait()


def _show_page(model: ServedModel, options: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    with open_page(model.run, options.host, options.port, tasks=model.tasks, mentions=model.mentions) as server:
        print(f"Ready, until Ctrl-C: http://{address(options.host, options.port)}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl serve", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "run", help="folder of a run, whose best checkpoint is served, a checkpoint, or what --to wrote"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=int, default=5001, help="port to listen at (default 5001)")
    parser.add_argument("--task", nargs="+", action="extend", help="tasks to serve (default: all)")
    mentions_help = "entity tasks that find the mentions of a task, if several tasks find the same type"
    parser.add_argument(
        "--mentions", metavar="NAME=TASK[,TASK…]", nargs="+", action="extend", default=[], help=mentions_help
    )
    timeout_help = "seconds after which a request gets an error (default: MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT, or 60)"
    parser.add_argument("--timeout", type=int, metavar="SECONDS", help=timeout_help)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--page", action="store_true", help="show a page in the browser, for this machine only")
    instead.add_argument("--to", metavar="FOLDER", type=Path, help="write the MLflow model to a new or empty folder")
    instead.add_argument("--log", action="store_true", help="log the MLflow model with the run in MLflow")
    register_help = "log it, and register it as a new version of the registered model NAME"
    instead.add_argument("--register", metavar="NAME", help=register_help)
    add_import_option(parser)
    return parser
