"""What `connector label-with` did or would do, as an object and as sentences."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from connector.annotations.records import readable
from connector.asking.cost import CHARACTERS_PER_TOKEN, IMAGE_TOKENS
from connector.errors import ConnectorError
from connector.formatting import count, one_line, verb

_SHOWN, _LENGTH = 5, 60  # texts, and characters of each


class Sent(NamedTuple):
    """A content that would be sent. `task`: one that has it. `text`: of an image, its address."""

    task: int
    text: str


@dataclass(frozen=True)
class LabelWithSummary:
    """What was done. Its fields are the keys of `--json`, but for `noun` and `error`.

    Attributes:
        project: The project's id.
        machine: What the machine is called.
        model: Its name, as its server knows it.
        url: The server's address.
        noun: What is sent: "text" or "image".
        tasks: How many tasks it is asked for.
        known: How many of them had an answer before.
        labels: How many of them have a label of the machine now.
        examples: How many tasks it is shown with their labels.
        examples_wanted: How many were to be found.
        replaced: How many labels that it gave under other instructions no longer count.
        estimated_tokens_in: Of all that was to be sent.
        estimated_tokens_out: Of all answers to that.
        estimated_cost: Of both. None: without prices.
        answered: How many different contents were answered.
        reasons: {why: how many answers or requests gave no label}.
        refused: How many contents the server refused. They are sent again next time.
        unfetched: How many had an image that could not be fetched.
        busy: How many another process is asking for.
        left: How many contents were not sent yet.
        requests: How many requests were sent.
        tokens_in: By the server's count.
        tokens_out: By the server's count.
        cost: Of these tokens. None: without prices.
        lost_tokens: At most so many more, of requests of which it is unknown whether they were answered.
        lost_cost: What these cost at most.
        budget: Most that the run may cost.
        stopped: Why it ended early: "budget", "signal" or "error". "": it did not.
        error: What ended it.
        dry_run: Whether nothing was sent.
        texts: In a dry run, all that would be sent.
    """

    project: int
    machine: str
    model: str
    url: str
    noun: str = "text"
    tasks: int = 0
    known: int = 0
    labels: int = 0
    examples: int = 0
    examples_wanted: int = 0
    replaced: int = 0
    estimated_tokens_in: int = 0
    estimated_tokens_out: int = 0
    estimated_cost: float | None = None
    answered: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    unfetched: int = 0
    busy: int = 0
    left: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    lost_tokens: int = 0
    lost_cost: float | None = None
    budget: float | None = None
    stopped: str = ""
    error: ConnectorError | None = None
    dry_run: bool = False
    texts: list[Sent] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: done. 3: the same command goes on. Otherwise that of the error."""
        if self.error is not None:
            return self.error.exit_code
        return 3 if self.stopped else 0

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        values = asdict(replace(self, error=None))
        values["error"] = None if self.error is None else str(self.error)
        values["texts"] = [text._asdict() for text in self.texts]
        del values["noun"]
        return values


def format_label_with(done: LabelWithSummary) -> str:
    """What was done, as sentences. A dry run lists the first texts."""
    return _dry_run(done) if done.dry_run else " ".join(filter(None, _sentences(done)))


def _dry_run(done: LabelWithSummary) -> str:
    if not done.left:
        return f"Project {done.project}: nothing would be sent. {_known(done)}".rstrip()
    tokens = done.estimated_tokens_in + done.estimated_tokens_out
    cost = "" if done.estimated_cost is None else f" and a cost of {done.estimated_cost:.4g}"
    how = f"{CHARACTERS_PER_TOKEN} characters a token" + (
        f", {IMAGE_TOKENS:,} tokens an image" if done.noun != "text" else ""
    )
    lines = [
        f"Project {done.project}: {count(done.left, done.noun)} would go to {done.url} (model {done.model}). "
        + " ".join(
            filter(None, [f"About {tokens:,} tokens{cost}, by an estimate ({how}).", _known(done), _examples(done)])
        ),
        *(f"  task {sent.task}: {_short(sent.text)}" for sent in done.texts[:_SHOWN]),
    ]
    if done.left > _SHOWN:
        lines.append(f"  ... and {done.left - _SHOWN:,} more. All of them: --dry-run --json")
    return "\n".join([*lines, "Nothing was sent."])


def _known(done: LabelWithSummary) -> str:
    if not done.known:
        return ""
    return f"{count(done.known, 'task')} of {done.tasks:,} had an answer before."


def _examples(done: LabelWithSummary) -> str:
    if done.examples == done.examples_wanted:
        return f"Each request has {count(done.examples, 'example')}." if done.examples else ""
    return f"Each request has {count(done.examples, 'example')} instead of {done.examples_wanted:,}."


def _short(text: str) -> str:
    line = one_line(readable(text))
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"


def _sentences(done: LabelWithSummary) -> list[str]:
    spent = f"{done.tokens_in:,} tokens in, {done.tokens_out:,} out" + (
        "" if done.cost is None else f", cost {done.cost:.4g}"
    )
    lost = "" if done.lost_cost is None else f", cost up to {done.lost_cost:.4g}"
    reasons = ", ".join(f"{why} ({number:,})" for why, number in sorted(done.reasons.items()))
    again = "Run the same command again to go on: nothing is asked twice."
    stopped = {
        "": "",
        "budget": f"Stopped before the budget of {done.budget or 0:g} was exceeded: {done.left:,} not sent. {again}",
        "signal": f"Stopped by a signal: {done.left:,} not sent. {again}",
        "error": f"Stopped by an error: {done.left:,} not sent. {again}",
    }[done.stopped]
    return [
        f"Project {done.project}: {done.machine} answered for {count(done.answered, done.noun)} "
        f"({count(done.requests, 'request')}, {spent})."
        if done.requests
        else f"Project {done.project}: nothing was sent.",
        _known(done),
        f"{count(done.labels, 'task')} {verb(done.labels, 'has', 'have')} a label of it now.",
        f"Without a label: {reasons}." if reasons else "",
        f"{count(done.unfetched, 'image')} could not be fetched. connector doctor --project {done.project} says why."
        if done.unfetched
        else "",
        f"{count(done.busy, done.noun)} {verb(done.busy)} being asked for by another connector label-with."
        if done.busy
        else "",
        f"Requests whose outcome is unknown had up to {done.lost_tokens:,} tokens more{lost}."
        if done.lost_tokens
        else "",
        f"{done.replaced:,} labels that it gave under other instructions no longer count." if done.replaced else "",
        stopped,
        f"The next connector sync --project {done.project} weighs these labels beside people's. They are no "
        "annotations, and annotators do not see them."
        if done.labels
        else "",
    ]
