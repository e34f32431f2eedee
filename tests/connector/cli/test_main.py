"""The command line: help, exit codes, and what goes to standard output and to standard error."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from support.summary_factory import sync_summary

from connector import __version__
from connector.cli.main import cli, main
from connector.errors import ConnectorError, StaleTasks, StateUnavailable, TryAgainLater, UsageError
from connector.state.project_state import State
from connector.sync.signals import StopSignals
from connector.sync.summary import SyncSummary
from ml_backend.cli import main as ml_backend

TOKEN = "b5a2c9d8e7f60123456789abcdef0123456789ab"
SUMMARY = sync_summary()


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.setenv("CONNECTOR_STATE", f"sqlite:///{tmp_path}/state.sqlite")
    monkeypatch.delenv("ML_BACKEND_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["connector", *arguments])
        try:
            main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capfd.readouterr()
        assert TOKEN not in out + err
        return Done(code, out, err)

    return run


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """Has `connector sync` do as planned: raise an error or return a summary; gives the calls."""

    def planned(outcome: Any) -> list[Any]:
        calls: list[Any] = []

        def sync(*arguments: Any) -> Any:
            calls.append(arguments)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr("connector.sync.cycle.sync", sync)
        return calls

    return planned


# -- help ------------------------------------------------------------------------------------------------------------


def test_the_help_names_every_command(connector: Run) -> None:
    done = connector("--help")
    assert done.code == 0
    listed = re.findall(r"^  ([\w-]+)  ", done.out.partition("Commands:")[2], re.MULTILINE)
    assert listed == [
        "init",
        "sync",
        "label-with",
        "status",
        "doctor",
        "report",
        "finish",
        "export",
        "simulate",
        "undo",
    ]
    assert "LABEL_STUDIO_API_KEY" in done.out


@pytest.mark.parametrize(("program", "commands"), [(cli, 10), (ml_backend, 3)], ids=["connector", "ml-backend"])
def test_the_help_has_whole_descriptions_of_one_line(program: click.Group, commands: int) -> None:
    """In a terminal of 80 columns."""
    shown = CliRunner().invoke(program, ["--help"], terminal_width=80).output.partition("Commands:\n")[2]
    descriptions = [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.strip()]
    assert len(descriptions) == commands
    assert [one for one in descriptions if not one.endswith(".") or one.endswith("..")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("sync --project one", "'--project': 'one' is not a whole number of at least 1."),
        ("report --project 1.5", "'--project': '1.5' is not a whole number of at least 1."),
        ("status --project 0", "'--project': '0' is not a whole number of at least 1."),
        ("sync --project 7 --every 1", "'--every': '1' is not a whole number from 5 to 86,400."),
        (f"sync --project {2**31}", "'--project': '2147483648' is too large: the largest number is 2,147,483,647."),
        (f"undo --project {2**63}", f"'--project': '{2**63}' is too large: the largest number is 2,147,483,647."),
        (
            f"status --project {'9' * 5000}",
            f"'--project': '{'9' * 40}…' is too large: the largest number is 2,147,483,647.",
        ),
        (
            f"init --project 7 --min-annotations-per-task {2**63}",
            f"'--min-annotations-per-task': '{2**63}' is too large: the largest number is 2,147,483,647.",
        ),
        ("simulate --out x --data x --seeds many", "'--seeds': 'many' is not a whole number of at least 1."),
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(connector: Run, arguments: str, said: str) -> None:
    done = connector(*arguments.split())
    assert done.code == 2
    assert done.err.endswith(f"Error: Invalid value for {said}\n")


@pytest.mark.parametrize("command", ["export --project 7 --format csv", "report --project 7", "simulate --data x"])
def test_output_to_standard_output_is_refused(connector: Run, command: str, tmp_path: Path) -> None:
    done = connector(*command.split(), "--out", "-")
    assert done.code == 2
    assert done.err.endswith("The output cannot go to standard output: name a file or a folder instead of '-'.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_start_of_too_many_digits_is_refused(connector: Run) -> None:
    done = connector("simulate", "--out", "x", "--data", "x", "--initial", f"1x{'9' * 5000}")
    assert done.code == 2
    assert "is not of the form 100x2" in done.err


@pytest.mark.parametrize("command", ["init", "status"])
def test_a_state_in_memory_is_refused(connector: Run, command: str) -> None:
    done = connector(command, "--project", "7", "--state", "sqlite://")
    assert done.code == 2
    assert done.err == (
        "Error: CONNECTOR_STATE names no file, so the state would be lost when the command ends, and with it the "
        "project's settings before init: name one, for example sqlite:////home/me/state.sqlite.\n"
    )


@pytest.mark.parametrize(
    ("module", "arguments", "shown"),
    [
        ("connector.cli.main", "export --project 7 --out no/\u6771\u4eac.txt", "no/??.txt"),
        ("ml_backend.cli", "versions --project 7 --model-dir \u6771\u4eac", "is not in ??"),
    ],
)
def test_letters_that_the_terminal_does_not_know_are_question_marks(module: str, arguments: str, shown: str) -> None:
    """click writes UTF-8 where a terminal says ASCII."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main()", *arguments.split()],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
    )
    said = (done.stdout + done.stderr).decode("latin-1")
    assert shown in said
    assert "Traceback" not in said
    assert "UnicodeEncodeError" not in said


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(connector: Run, name: str) -> None:
    done = connector(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].endswith(f" {name} [OPTIONS]")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_has_a_sentence_of_help(name: str) -> None:
    options = [one for one in cli.commands[name].params if isinstance(one, click.Option)]
    assert options
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_no_option_takes_the_token(name: str) -> None:
    written = [text for one in cli.commands[name].params for text in one.opts]
    assert not [text for text in written if "key" in text or "token" in text]


def test_the_command_alone_says_what_it_lacks_and_what_comes_next(
    connector: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    done = connector()
    assert (done.code, done.err) == (2, "")
    assert "not connected: LABEL_STUDIO_URL is not set: give the address" in done.out
    assert "connector init --project ID" in done.out
    assert done.out.endswith("connector --help\n")


def test_the_command_alone_names_a_setting_that_is_wrong(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_SCORER", "best")
    done = connector()
    assert (done.code, done.err) == (2, "")
    assert done.out.startswith("Settings      CONNECTOR_SCORER ")
    assert "not connected" not in done.out


def test_the_command_alone_says_which_servers_are_away(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_BACKEND_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CONNECTOR_RETRY_SECONDS", "0")
    done = connector()
    assert done.code == 3
    assert "Label Studio  not connected: Label Studio at http://127.0.0.1:9 does not answer" in done.out
    assert "ML backend    The ML backend at http://127.0.0.1:9 does not answer" in done.out


def test_the_version_is_the_packages(connector: Run) -> None:
    done = connector("--version")
    assert done.code == 0
    assert done.out.split()[-1] == __version__


# -- wrong usage -----------------------------------------------------------------------------------------------------


def test_init_of_a_project_does_not_take_a_labelling_config(connector: Run) -> None:
    done = connector("init", "--project", "19", "--label-config", "config.xml")
    assert done.code == 2
    assert done.err.endswith(
        "Error: --label-config is for a new project. To change the labelling config of project 19, use Settings, "
        "Labeling Interface in Label Studio.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("sync",),
        ("sync", "--project", "seven"),
        ("sync", "--project", "0"),
        ("sync", "--project", "7", "--all"),
        ("sync", "--all"),  # nothing is set up yet
        ("sync", "--every", "5"),
        ("sync", "--project", "7", "--every", "4"),
        ("sync", "--project", "7", "--every", "100000"),
        ("sync", "--project", "7", "--every", "minute"),
        ("sync", "--project", "7", "--every", "5", "--dry-run"),
        ("sync", "--project", "7", "--every", "5"),  # not set up yet
        ("sync", "--project", "7", "--window", "0"),
        ("sync", "--project", "7", "--train", "sometimes"),
        ("sync", "--project", "7", "--max-annotations-per-task", "0"),
        ("sync", "--project", "7", "--no-such-option"),
        ("init",),
        ("init", "--project", "7", "--title", "New"),
        ("init", "--title", "New"),
        ("init", "--project", "7", "--data", "a.csv"),
        ("init", "--project", "7", "--min-annotations-per-task", "0"),
        ("init", "--title", "New", "--data", "missing.csv"),
        ("init", "--title", "New", "--data", "missing.csv", "--label-config", "missing.xml"),
        ("sync", "--project", "7", "--state", "nonsense"),
        ("sync", "--project", "7", "--label-studio-url", "nonsense"),
        ("sync", "--project", "7", "--window", "5001"),
        ("sync", "--project", "7", "--prelabel", "all"),
        ("sync", "--project", "7", "--cost", "money"),
        ("simulate", "--data", ".", "--out", "simulated", "--cost", "money"),
        ("status", "--project", "0"),
        ("status", "7"),
        ("export", "--project", "7"),
        ("export", "--project", "7", "--out", "labels.txt"),
        ("export", "--project", "7", "--out", "labels.csv", "--format", "xml"),
        ("export", "--project", "-1", "--out", "labels.csv"),
        ("undo",),
        ("undo", "--project", "0"),
        ("doctor",),
        ("doctor", "--project", "seven"),
        ("sync", "--project", "7"),  # not set up yet
        ("status", "--project", "7"),
        ("export", "--project", "7", "--out", "labels.csv", "--no-model"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_so_on_standard_error(connector: Run, arguments: tuple[str, ...]) -> None:
    done = connector(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_options_of_init_are_checked_before_settings(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    assert "Give --project ID, or --title and --data" in connector("init").err


def test_a_missing_setting_is_named(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    done = connector("sync", "--project", "7")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: LABEL_STUDIO_API_KEY is not set: give a token")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("texts.txt", "text\nHello\n", "neither .csv nor .jsonl"),
        ("texts.csv", "", "holds no rows"),
        ("texts.csv", "text\n", "holds no rows"),
        ("texts.csv", "words\nHello\n", "Row 1 of texts.csv has no 'text'"),
        ("texts.csv", 'text\n""\n', "Row 1 of texts.csv has no text, because 'text' is blank"),
        ("texts.jsonl", '{"text": "Hello"}\n{"words": "Hi"}\n', "Line 2 of texts.jsonl has no 'text'"),
        ("texts.jsonl", '{"text": \n', "Line 1 of texts.jsonl is not JSON: Expecting value"),
        ("texts.jsonl", '["text"]\n', "Line 1 of texts.jsonl is not an object such as"),
    ],
)
def test_texts_that_cannot_be_used_are_refused_before_anything_is_made(
    connector: Run, name: str, content: str, words: str
) -> None:
    Path(name).write_text(content)
    Path("config.xml").write_text(
        '<View><Text name="t" value="$text"/>'
        '<Choices name="c" toName="t"><Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    done = connector("init", "--title", "New", "--data", name, "--label-config", "config.xml")
    assert done.code == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 3, "Label Studio at http://127.0.0.1:9 does not answer"),
        (("--control", "three"), 2, "called 'three'"),
        (("--control", "two", "--control", "three"), 2, "called 'three'"),
        (("--control", "two"), 3, "Label Studio at http://127.0.0.1:9 does not answer"),
    ],
    ids=["all", "wrong", "one wrong", "right"],
)
def test_a_new_project_takes_the_controls_that_are_chosen(
    connector: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.setenv("CONNECTOR_RETRY_SECONDS", "0")
    Path("texts.csv").write_text("text\nHello\n")
    controls = [
        f'<Choices name="{name}" toName="t"><Choice value="A"/><Choice value="B"/></Choices>' for name in ("one", "two")
    ]
    Path("config.xml").write_text(f'<View><Text name="t" value="$text"/>{"".join(controls)}</View>')
    done = connector("init", "--title", "New", "--data", "texts.csv", "--label-config", "config.xml", *options)
    assert done.code == code
    assert words in done.err


@pytest.mark.parametrize(
    ("command", "variables", "where"),
    [
        ("status --project 7", {"LABEL_STUDIO_API_KEY": ""}, "."),
        ("status --project 7", {"CONNECTOR_RETRY_SECONDS": "soon", "CONNECTOR_SCORER": "best"}, "."),
        ("status --project 7", {"LABEL_STUDIO_URL": ""}, ", or --label-studio-url."),
        (
            "sync --project 7",
            {"LABEL_STUDIO_URL": "studio", "LABEL_STUDIO_API_KEY": "", "ML_BACKEND_URL": "model"},
            ", or --label-studio-url and --ml-backend-url.",
        ),
        ("simulate --project 7 --out made", {"ML_BACKEND_URL": "model"}, "."),
    ],
)
def test_a_wrong_setting_names_an_option_only_if_the_command_has_one(
    connector: Run, monkeypatch: pytest.MonkeyPatch, command: str, variables: dict[str, str], where: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = connector(*command.split())
    assert done.code == 2
    assert all(name in done.err for name in variables)
    assert done.err.endswith(f" Use the environment or a .env file{where}\n")


# -- errors and exit codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectorError("It broke."), 1),
        (UsageError("It broke."), 2),
        (TryAgainLater("It broke."), 3),
        (StaleTasks("It broke."), 3),
    ],
)
def test_errors_of_ours_are_their_sentence_and_their_code(
    connector: Run, plan: Any, error: ConnectorError, code: int
) -> None:
    plan(error)
    assert connector("sync", "--project", "7", "--json") == Done(code, "", "Error: It broke.\n")


def test_an_unforeseen_error_is_one_sentence(connector: Run, plan: Any) -> None:
    plan(RuntimeError("first line\nsecond line"))
    done = connector("sync", "--project", "7")
    assert (done.code, done.out) == (1, "")
    assert done.err == ("Error: unforeseen RuntimeError: first line. Run with --verbose for the details.\n")


def test_a_busy_state_database_is_for_later(connector: Run, plan: Any) -> None:
    plan(StateUnavailable("The state database in CONNECTOR_STATE failed: database is locked."))
    done = connector("sync", "--project", "7")
    assert (done.code, done.out) == (3, "")
    assert done.err == "Error: The state database in CONNECTOR_STATE failed: database is locked.\n"


def test_who_interrupts_a_command_is_not_shown_an_error(connector: Run, plan: Any) -> None:
    plan(KeyboardInterrupt())
    done = connector("sync", "--project", "7")
    assert done.code == 1
    assert done.err.strip() == "Stopped."


def test_a_label_studio_that_is_away_exits_3(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_RETRY_SECONDS", "0")
    done = connector("init", "--project", "7")
    assert (done.code, done.out) == (3, "")
    assert "Label Studio at http://127.0.0.1:9 does not answer" in done.err


def in_a_process(*arguments: str, before: str = "") -> Done:
    """The command in a process of its own, where its logging is set up as users have it."""
    code = f"import connector.sync.cycle\n{before}\nfrom connector.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_traceback_is_shown_with_verbose_alone(connector: Run, plan: Any, caplog: pytest.LogCaptureFixture) -> None:
    plan(RuntimeError("odd"))
    quiet = connector("sync", "--project", "7")
    assert "Traceback" not in caplog.text
    verbose = connector("sync", "--project", "7", "--verbose")
    assert caplog.text.count("Traceback") == 1
    assert verbose == quiet
    assert (quiet.code, quiet.out) == (1, "")


def test_of_libraries_only_errors_are_shown() -> None:
    """The first report would otherwise show what matplotlib does with its fonts."""
    libraries = (
        "import logging\n"
        "from connector.sync import cycle\n"
        "def sync(*anything):\n"
        "    for name in ('matplotlib.font_manager', 'httpx', 'urllib3.connectionpool'):\n"
        "        logging.getLogger(name).info('generated new fontManager')\n"
        "        logging.getLogger(name).warning('is building the font cache')\n"
        "    logging.getLogger('connector').info('Ours.')\n"
        "    logging.getLogger('urllib3').error('An error.')\n"
        "    raise cycle.UsageError('The end.')\n"
        "cycle.sync = sync\n"
    )
    lines = in_a_process("sync", "--project", "7", before=libraries).err.splitlines()
    assert [re.sub(r"^[\d:, -]+", "", line) for line in lines] == ["Ours.", "An error.", "Error: The end."]


def test_a_traceback_does_not_hold_the_token() -> None:
    state = os.environ["CONNECTOR_STATE"]
    adopted = (
        "import os\nfrom connector.state.project_state import State\n"
        f"State({state!r}).project('http://127.0.0.1:9', 7).put(adopted_at='now', control={{}})\n"
        "os.environ['CONNECTOR_RETRY_SECONDS'] = '0'"
    )
    done = in_a_process("sync", "--project", "7", "--verbose", before=adopted)
    assert done.code == 3
    assert "Traceback" in done.err
    assert TOKEN not in done.err


def test_a_closed_pipe_is_no_error_message() -> None:
    command = f"{sys.executable} -m connector.cli --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr


def test_output_to_a_full_disk_is_for_later(connector: Run, plan: Any) -> None:
    plan(OSError(errno.ENOSPC, "No space left on device"))
    done = connector("sync", "--project", "7")
    assert done == Done(3, "", "Error: There is no room left on the disk that the output goes to: free some space.\n")


# -- all projects, and on and on ---------------------------------------------------------------------------------------


def set_up(*projects: int) -> None:
    """Has the state database know these projects as set up."""
    state = State(os.environ["CONNECTOR_STATE"])
    for project in projects:
        state.project("http://127.0.0.1:9", project).put(adopted_at="2026-03-01T10:00:00+00:00", control={})
    state.close()


def by_project(monkeypatch: pytest.MonkeyPatch, outcomes: dict[int, Any]) -> list[int]:
    """Has each project's syncs end as planned, the last one for good; gives the projects in the order of syncs."""
    tried: list[int] = []

    def sync(project: int, *more: Any) -> SyncSummary:
        tried.append(project)
        planned = outcomes.get(project, [SUMMARY])
        outcome = planned.pop(0) if len(planned) > 1 else planned[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return replace(outcome, project=project)

    monkeypatch.setattr("connector.sync.cycle.sync", sync)
    return tried


def test_what_is_missing_or_too_much_is_said(connector: Run) -> None:
    sentence = "Error: Give --project ID, or --all for every project that init has set up.\n"
    for arguments in ((), ("--project", "7", "--all")):
        assert connector("sync", *arguments).err.endswith(sentence)
    assert connector("sync", "--all") == Done(
        2, "", "Error: No project of http://127.0.0.1:9 is set up yet: run connector init --project ID first.\n"
    )


def test_all_projects_are_synced_and_the_worst_code_is_the_command_s(
    connector: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(3, 5, 7)
    monkeypatch.setattr("connector.label_studio.client.LabelStudio.whoami", lambda gateway: {})
    tried = by_project(monkeypatch, {3: [TryAgainLater("Later.")], 5: [UsageError("It is gone.")]})
    done = connector("sync", "--all")
    assert tried == [3, 5, 7]
    assert done.code == 2
    assert done.out.startswith("Project 7, round 3: 200 tasks, 60 annotations")
    assert done.err == "Error in project 3: Later.\nError in project 5: It is gone.\n"

    done = connector("sync", "--all", "--json")
    assert done.code == 2
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == {
        "projects": [
            {"project": 3, "error": "Later.", "exit_code": 3},
            {"project": 5, "error": "It is gone.", "exit_code": 2},
            SUMMARY.to_json(),
        ]
    }


def test_label_studio_that_is_away_is_waited_for_once(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(3, 5, 7)
    tried = by_project(monkeypatch, {3: [TryAgainLater("Label Studio does not answer.")]})
    done = connector("sync", "--all")
    assert (tried, done.code, done.out) == ([3], 3, "")
    assert done.err == (
        "Error in project 3: Label Studio does not answer.\nNot tried, for the same reason: projects 5, 7.\n"
    )


def test_on_and_on_until_a_signal_comes(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(7)
    tried = by_project(monkeypatch, {7: [SUMMARY, TryAgainLater("Later."), SUMMARY]})
    waits: list[float] = []

    def wait(stop: StopSignals, seconds: float) -> bool:
        waits.append(seconds)
        return len(tried) == 3

    monkeypatch.setattr(StopSignals, "wait", wait)
    monkeypatch.setattr("connector.cli.sync.time", SimpleNamespace(monotonic=lambda: sum(waits)))
    done = connector("sync", "--project", "7", "--every", "60")
    assert done.code == 0
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    first, second = done.out.splitlines()
    assert re.match(time + "Project 7, round 3: 200 tasks, 60 annotations", first)
    assert re.match(time + "Project 7, round 3: 200 tasks, 60 annotations", second), "it works again"
    assert re.fullmatch(time + "Error in project 7: Later.\n", done.err)

    tried.clear()
    done = connector("sync", "--all", "--every", "60", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line.keys() for line in lines] == [{"at", "projects"}] * 3
    assert lines[0]["projects"] == [SUMMARY.to_json()]


def test_a_single_project_that_needs_a_change_ends_the_loop(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(7)
    by_project(monkeypatch, {7: [UsageError("No such project.")]})
    done = connector("sync", "--project", "7", "--every", "60", "--json")
    assert (done.code, done.err) == (2, "Error: No such project.\n")
    told = json.loads(done.out)
    assert {name: told[name] for name in told if name != "at"} == {
        "project": 7,
        "error": "No such project.",
        "exit_code": 2,
    }


def test_signals_are_as_before_after_the_loop(connector: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    assert connector("sync", "--project", "7", "--every", "60").code == 2
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)] == before


# -- what a sync prints ----------------------------------------------------------------------------------------------


def test_json_is_one_object_on_standard_output(connector: Run, plan: Any) -> None:
    plan(SUMMARY)
    done = connector("sync", "--project", "7", "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == SUMMARY.to_json()


def test_without_json_a_sync_is_told_in_a_sentence(connector: Run, plan: Any) -> None:
    plan(SUMMARY)
    done = connector("sync", "--project", "7")
    assert done.code == 0
    assert done.out == (
        "Project 7, round 3: 200 tasks, 60 annotations by 4 annotators. Trained model v3. Published 20 tasks: 15 new, "
        "5 for a second opinion. Left out: 2 tasks without a text: 4, 9 ('text' is blank).\n"
    )
    assert "choice" not in done.out


def test_a_dry_run_says_what_would_be(connector: Run, plan: Any) -> None:
    plan(replace(SUMMARY, dry_run=True, trained=False, model_version=None, restored=[], seconds={"pull": 0.5}))
    done = connector("sync", "--project", "7", "--dry-run")
    assert "No model yet. Would publish 20 tasks" in done.out
    assert done.err == ""


def test_options_reach_the_sync(connector: Run, plan: Any) -> None:
    calls = plan(SUMMARY)
    options = "--window 40 --max-annotations-per-task 3 --train never --prelabel new --dry-run --ground-truth"
    connector("sync", "--project", "7", *options.split())
    project, _, _, _, given, _ = calls[0]
    assert project == 7
    assert (given.window, given.max_annotations_per_task, given.train) == (40, 3, "never")
    assert (given.prelabel_new, given.dry_run, given.ground_truth) == (True, True, True)


@pytest.mark.parametrize(
    ("options", "cost"), [((), "labels"), (("--cost", "labels"), "labels"), (("--cost", "time"), "time")]
)
def test_the_cost_reaches_the_sync(connector: Run, plan: Any, options: tuple[str, ...], cost: str) -> None:
    calls = plan(SUMMARY)
    connector("sync", "--project", "7", *options)
    assert calls[0][4].cost == cost


@pytest.mark.parametrize("scorer", ["activelab", "cleanlab"])
def test_the_scorer_is_a_setting(connector: Run, plan: Any, monkeypatch: pytest.MonkeyPatch, scorer: str) -> None:
    calls = plan(SUMMARY)
    monkeypatch.setenv("CONNECTOR_SCORER", scorer)
    connector("sync", "--project", "7")
    assert calls[0][4].scorer == scorer


def test_a_scorer_that_there_is_not_is_refused(connector: Run, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(SUMMARY)
    monkeypatch.setenv("CONNECTOR_SCORER", "best")
    done = connector("sync", "--project", "7")
    assert done.code == 2
    assert "CONNECTOR_SCORER" in done.err


def test_the_defaults_are_those_of_the_help(connector: Run, plan: Any) -> None:
    calls = plan(SUMMARY)
    connector("sync", "--project", "7")
    given = calls[0][4]
    assert (given.window, given.most_annotations(1), given.train) == (100, 5, "auto")
    assert (given.prelabel_new, given.dry_run, given.ground_truth) == (False, False, False)


def test_addresses_given_as_options_win_over_the_environment(
    connector: Run, plan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = plan(SUMMARY)
    monkeypatch.setenv("ML_BACKEND_URL", "http://environment:1")
    addresses = ["--label-studio-url", "http://option:2", "--ml-backend-url", "http://option:3"]
    connector("sync", "--project", "7", *addresses, "--state", f"sqlite:///{tmp_path}/other.sqlite")
    _, gateway, connect, _, _, _ = calls[0]
    monkeypatch.setattr("connector.backend.Backend.check", lambda backend: None)
    backend = connect()
    assert (gateway.url, backend.url) == ("http://option:2", "http://option:3")
    assert (tmp_path / "other.sqlite").exists()
    backend.close()
