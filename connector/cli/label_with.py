"""`connector label-with`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from connector.cli.options import media_option, open_backend, open_servers, project_option, say, server_options
from connector.whole_number import WholeNumber

if TYPE_CHECKING:
    from connector.settings import Settings

DEFAULT_LIMIT = 500  # tasks
_LONGEST_TIMEOUT = 300.0
_PREFIX = "openai/"


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    url = value.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise click.BadParameter("It is not a web address, such as http://localhost:11434/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise click.BadParameter("It has more than an address. Put the key into CONNECTOR_LLM_API_KEY.")
    return url


def _prices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        into, out = map(float, value.split(","))
    except ValueError:
        into = out = math.nan
    if not (0 <= into < math.inf and 0 <= out < math.inf):
        raise click.BadParameter(f"{value} is not two prices per million tokens, such as 0.4,1.6.")
    return into, out


def _above_zero(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value} is not a number above 0.")
    return value


def _seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not 0 < value <= _LONGEST_TIMEOUT:
        raise click.BadParameter(f"{value} is not a number of seconds above 0 and at most {_LONGEST_TIMEOUT:g}.")
    return value


@click.command("label-with", short_help="Ask a language model for labels, which count beside people's.")
@project_option()
@click.option("--model", required=True, metavar="NAME", help="The model, such as openai/gpt-4.1-mini.")
@click.option("--base-url", metavar="URL", callback=_address, help="Address of an OpenAI-compatible server [OpenAI].")
@click.option("--name", metavar="NAME", help="What the machine is called in the project [the model].")
@click.option(
    "--instructions", type=click.Path(path_type=Path), metavar="FILE", help="Further instructions: a text file."
)
@click.option(
    "--examples",
    type=WholeNumber(0, 100),
    default=8,
    show_default=True,
    metavar="N",
    help="Show it N tasks with a sure label.",
)
@click.option("--new-examples", is_flag=True, help="Choose these tasks again. All tasks are asked for again then.")
@click.option(
    "--limit",
    type=WholeNumber(1),
    metavar="N",
    help=f"Ask for N tasks: the window, then those the project's model is least sure of [{DEFAULT_LIMIT}].",
)
@click.option("--all", "all_tasks", is_flag=True, help="Ask for all tasks of the project.")
@click.option("--prices", metavar="IN,OUT", callback=_prices, help="Prices of a million tokens sent and received.")
@click.option(
    "--budget", type=float, metavar="AMOUNT", callback=_above_zero, help="Most that this run may cost. Needs --prices."
)
@click.option(
    "--parallel", type=WholeNumber(1, 64), default=4, show_default=True, metavar="N", help="Requests at once."
)
@click.option(
    "--max-answer",
    type=WholeNumber(16),
    default=1000,
    show_default=True,
    metavar="N",
    help="Most tokens of an answer. A model that reasons needs more.",
)
@click.option(
    "--timeout",
    type=float,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    callback=_seconds,
    help="How long a request may take.",
)
@click.option("--no-model", is_flag=True, help="Do not ask the ML backend what the project's model is unsure of.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and what it would cost. Send nothing.")
@click.option("--yes", is_flag=True, help="Send texts without a question.")
@media_option
@server_options
def label_with(
    project_id: int,
    model: str,
    base_url: str | None,
    name: str | None,
    instructions: Path | None,
    examples: int,
    new_examples: bool,
    limit: int | None,
    all_tasks: bool,
    prices: tuple[float, float] | None,
    budget: float | None,
    parallel: int,
    max_answer: int,
    timeout: float,
    no_model: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **servers: str | None,
) -> int:
    """Ask a language model for labels of tasks, at OpenAI or any OpenAI-compatible address.

    No other command sends anything to such a model. This one says where texts go, and asks. The key comes from
    CONNECTOR_LLM_API_KEY or OPENAI_API_KEY, never from an option. Labels are stored as they come, so you can run it
    again if it ends early.

    Example: connector label-with --project 7 --model openai/gpt-4.1-mini --dry-run
    """
    if budget is not None and prices is None:
        raise click.UsageError("--budget needs --prices IN,OUT: the prices of a million tokens sent and received.")
    if all_tasks and limit is not None:
        raise click.UsageError("Give --limit or --all, not both.")

    from connector.asking.client import OPENAI
    from connector.asking.cost import Prices
    from connector.asking.run import LabelWithOptions
    from connector.asking.run import label_with as ask
    from connector.asking.summary import format_label_with
    from connector.progress import Reporter
    from connector.state.recognition import open_project

    served = model.strip()
    if base_url is None:
        served = served.removeprefix(_PREFIX)
        if "/" in served:
            raise click.UsageError(f"{model} is no model of OpenAI. Give the address of its server with --base-url.")
    if not served:
        raise click.UsageError("--model names no model.")
    more = "" if instructions is None else _read(instructions)
    context = click.get_current_context()
    settings, gateway, state = open_servers(servers)
    options = LabelWithOptions(
        model=served,
        url=base_url or OPENAI,
        name=(name or model).strip(),
        key=None if dry_run else _key(settings, base_url),
        instructions=more,
        examples=examples,
        new_examples=new_examples,
        limit=None if all_tasks else limit or DEFAULT_LIMIT,
        prices=None if prices is None else Prices(*prices),
        budget=budget,
        parallel=parallel,
        max_tokens=max_answer,
        timeout=timeout,
        retry_seconds=settings.retry_seconds,
        media_hosts=settings.allowed_hosts,
        scorer=settings.scorer,
    )

    def confirm(question: str) -> bool:
        return yes or (sys.stdin.isatty() and click.confirm(question, err=True))

    done = ask(
        project_id,
        gateway,
        None if no_model else open_backend(context, settings, gateway),
        open_project(project_id, gateway, state, remember=not dry_run),
        options,
        Reporter(),
        confirm,
        dry_run=dry_run,
    )
    if as_json:
        click.echo(json.dumps(done.to_json()))
    else:
        say(format_label_with(done))
    if done.error is not None:
        raise done.error
    return done.exit_code


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} cannot be read: it is not in UTF-8.") from error


def _key(settings: Settings, base_url: str | None) -> str | None:
    """The API key. That of OpenAI is sent to OpenAI alone. Raises UsageError if there is none, or none can be sent."""
    names = {"CONNECTOR_LLM_API_KEY": settings.llm_api_key}
    if base_url is None:
        names["OPENAI_API_KEY"] = settings.openai_api_key
    for name, secret in names.items():
        key = "" if secret is None else secret.get_secret_value().strip()
        if key and not (key.isascii() and key.isprintable()):
            raise click.UsageError(f"{name} contains characters that no key has.")
        if key:
            return key
    if base_url is None:
        raise click.UsageError(
            "There is no API key: set CONNECTOR_LLM_API_KEY or OPENAI_API_KEY, in the environment or in .env."
        )
    return None
