"""`connector label-with`: asks a model for labels of tasks, and keeps its answers.

What was answered is stored when it comes, so that a run that is killed loses the requests under way at most. The next
one goes on, and asks nothing twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from connector._compat import batched
from connector.annotations.objects.medium import PAGE_SEPARATOR
from connector.annotations.records import digest
from connector.asking.choice import ChosenExample, askable, choose_examples, in_order
from connector.asking.client import Model, Refused, Reply, Stopped, load_library
from connector.asking.cost import NO_TOKENS, Ledger, OutOfBudget, Prices, Tokens, estimated
from connector.asking.instructions import instructions
from connector.asking.prompt import NO_ANSWER, NO_CLASS, NOT_JSON, Example, Prompt
from connector.asking.summary import LabelWithSummary, Sent
from connector.backend import Backend
from connector.errors import ConnectorError, UsageError
from connector.formatting import count
from connector.label_studio.client import LabelStudio
from connector.media import Failure, Fetcher, Source
from connector.media.kinds import KINDS
from connector.progress import Reporter, Stage
from connector.state.machine_answers import Answer
from connector.state.project_state import ProjectState
from connector.state.pull import read_snapshot
from connector.state.rows import MachineLabel
from connector.state.snapshot import ProjectSnapshot
from connector.sync.media import open_fetcher
from connector.sync.review import reviews
from connector.sync.signals import Stopped as Interrupted
from connector.sync.signals import StopSignals

LONGEST_NAME = 100  # characters of a machine's name, in the state database
_AT_ONCE = 200  # texts in memory
_GLANCE = 0.2  # seconds between two looks at signals
_REFUSED_FROM_THE_START = 5  # then the server refuses all, not some tasks

DECLINED = "the model declines to answer"
CUT = "its answer was cut off"
# What is asked again: another attempt may give a label.
_UNREADABLE = (NOT_JSON, NO_CLASS, NO_ANSWER)


@dataclass(frozen=True)
class LabelWithOptions:
    """What to ask which model for.

    Attributes:
        model: Its name, as its server knows it.
        url: The server's address.
        name: What the machine is called in the project.
        key: The API key. None: the server needs none.
        instructions: Further instructions, by the team.
        examples: How many tasks it is shown with their labels.
        new_examples: Whether to choose them again.
        limit: How many tasks it is asked for. None: all.
        prices: Of its tokens. None: not known.
        budget: Most that the run may cost.
        parallel: Requests at once.
        max_tokens: Most tokens of an answer.
        timeout: Seconds that a request may take.
        retry_seconds: How long a request is repeated.
        media_hosts: Private hosts from which images may be fetched.
        scorer: The setting CONNECTOR_SCORER.
    """

    model: str
    url: str
    name: str
    key: str | None = None
    instructions: str = ""
    examples: int = 8
    new_examples: bool = False
    limit: int | None = 500
    prices: Prices | None = None
    budget: float | None = None
    parallel: int = 4
    max_tokens: int = 1000
    timeout: float = 120.0
    retry_seconds: float = 60.0
    media_hosts: Collection[str] = ()
    scorer: str = "activelab"


def label_with(
    project_id: int,
    gateway: LabelStudio,
    backend: Backend | None,
    state: ProjectState,
    options: LabelWithOptions,
    reporter: Reporter,
    confirm: Callable[[str], bool],
    *,
    dry_run: bool = False,
) -> LabelWithSummary:
    """Asks the model, stores its labels, and returns what was done.

    If it ends early, `LabelWithSummary.error` says why, and all that was answered is stored.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio, which is only read.
        backend: The ML backend, which knows what the project's own model is unsure of. None: it is not asked.
        state: The project's rows of the state database.
        options: What to ask for.
        reporter: Shows the progress.
        confirm: Asks a person whether texts may be sent.
        dry_run: Send and store nothing.

    Raises:
        UsageError: The project, the model or an option has to be changed first. Nothing was sent.
        TryAgainLater: A server is unavailable. Nothing was sent.
    """
    state.require_initialized()
    state.require_no_undo()
    if not dry_run:
        load_library()
    with reporter.stage("read", "Reading the project in Label Studio") as stage:
        pulled = read_snapshot(project_id, gateway, state, stage.count)
    _require_askable(pulled, state, options)
    run = _Run(pulled, gateway, state, options, *_prepared(pulled, backend, state, options, reporter))
    with reporter.stage("count", "Counting what is to be sent"):
        summary = run.plan(listed=dry_run)
    if dry_run:
        return replace(summary, dry_run=True)
    destination = _destination(project_id, summary, options)
    if summary.left and not confirm(f"{destination} Go on?"):
        raise UsageError(f"Nothing was sent. {destination} Answer yes, or give --yes.")
    run.register()
    if not summary.left:
        return run.summary()
    with reporter.stage("ask", f"Asking {options.name} for {count(summary.left, 'text')}") as stage:
        return run.ask(stage)


def _require_askable(pulled: ProjectSnapshot, state: ProjectState, options: LabelWithOptions) -> None:
    sounds = [control.name for control in pulled.questions.controls if control.kind == "audio"]
    if sounds:
        raise UsageError(
            f"Question '{sounds[0]}' is about recordings, which connector label-with cannot send. It can ask about "
            "texts and images."
        )
    if len(options.name) > LONGEST_NAME:
        raise UsageError(f"A name of a machine has at most {LONGEST_NAME} characters: give a shorter one with --name.")
    if "predictions" in state.machines().get(options.name, {}):
        raise UsageError(
            f"'{options.name}' is a model version whose predictions count already: give another name with --name."
        )


def _prepared(
    pulled: ProjectSnapshot, backend: Backend | None, state: ProjectState, options: LabelWithOptions, reporter: Reporter
) -> tuple[dict[int, ChosenExample], list[int]]:
    """The examples, and the tasks that can be asked for in their order."""
    found, joined = reviews(pulled, backend, reporter, state, options.scorer)
    examples = _kept_examples(pulled, state, options)
    if examples is None:
        examples = choose_examples(pulled, joined, state.drawn(), options.examples)
    shown = {example.digest for example in examples.values()}
    tasks = [task for task in askable(pulled) if pulled.tasks[task].digest not in shown]
    return examples, in_order(tasks, [slot.task for slot in state.window()], found, pulled.questions)


def _kept_examples(
    pulled: ProjectSnapshot, state: ProjectState, options: LabelWithOptions
) -> dict[int, ChosenExample] | None:
    """The examples of the machine's last run, since others would make all its answers worthless. None: choose some."""
    known = state.machines().get(options.name, {})
    if options.new_examples or known.get("wanted") != options.examples:
        return None
    kept = {int(task): ChosenExample(*example) for task, example in known.get("examples", {}).items()}
    there = all(task in pulled.tasks and pulled.tasks[task].digest == one.digest for task, one in kept.items())
    return kept if there else None


def _destination(project_id: int, summary: LabelWithSummary, options: LabelWithOptions) -> str:
    cost = "" if summary.estimated_cost is None else f", which costs about {summary.estimated_cost:.4g}"
    tokens = summary.estimated_tokens_in + summary.estimated_tokens_out
    noun = summary.noun
    return (
        f"{count(summary.left, noun)} of project {project_id} {'goes' if summary.left == 1 else 'go'} to {options.url} "
        f"(model {options.model}): about {tokens:,} tokens{cost}."
        + (f" {summary.replaced:,} labels by its former instructions no longer count then." if summary.replaced else "")
    )


@dataclass
class _Item:
    """A content to ask for. `task`: one that has it. `again`: its answer was cut off."""

    key: str
    task: int
    text: str
    images: tuple[bytes, ...] = ()
    again: bool = False


@dataclass
class _Asked:
    """What one content gave. `answer` None: the server refused the request."""

    answer: Answer | None
    refusal: Refused | None = None


@dataclass
class _Counts:
    """What has become of the contents that were to be asked."""

    answered: int = 0
    refused: int = 0
    unfetched: int = 0
    busy: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class _Run:
    def __init__(
        self,
        pulled: ProjectSnapshot,
        gateway: LabelStudio,
        state: ProjectState,
        options: LabelWithOptions,
        examples: dict[int, ChosenExample],
        tasks: list[int],
    ) -> None:
        self._pulled, self._gateway, self._state, self._options = pulled, gateway, state, options
        self._examples = examples
        texts = pulled.texts(examples)
        self._prompt = Prompt(
            pulled.questions,
            instructions(pulled.project, pulled.questions, options.instructions),
            tuple(Example(texts[task], example.label) for task, example in examples.items()),
        )
        self._setup = digest(f"{options.url}\n{options.model}\n{self._prompt.setup}")
        # Of all tasks, because one that is not asked for may have the content of one that was.
        self._key_of = {task: digest(f"{self._setup}\n{pulled.tasks[task].digest}") for task in tasks}
        self._tasks_of: dict[str, list[int]] = {}
        for task, key in self._key_of.items():
            self._tasks_of.setdefault(key, []).append(task)
        self._sources = pulled.sources
        self._chosen = tasks if options.limit is None else tasks[: options.limit]
        self._answers = state.machine_answers(self._tasks_of)
        self._left = [key for key in dict.fromkeys(self._key_of[task] for task in self._chosen) if self._is_open(key)]
        self._ledger = Ledger(options.prices, options.budget)
        self._counts = _Counts()
        self._plan = LabelWithSummary(project=0, machine="", model="", url="")

    def _is_open(self, key: str) -> bool:
        """Whether a content is to be asked for. One whose answer was cut off is, if it may be longer now."""
        answer = self._answers.get(key)
        return answer is None or (answer.reason == CUT and answer.tokens_out < self._options.max_tokens)

    def plan(self, *, listed: bool) -> LabelWithSummary:
        """What is to be sent, by an estimate. `listed`: with the texts."""
        options, questions = self._options, self._pulled.questions
        usual = self._prompt.answer(questions.joint({c.name: c.label_of([c.classes[0]]) for c in questions.controls}))
        total = NO_TOKENS
        sent: list[Sent] = []
        for part in batched(self._left, _AT_ONCE):
            for item in self._items(part):
                tokens = estimated(
                    self._prompt.messages(item.text, self._images_of(item.text)), self._prompt.schema, usual
                )
                total = Tokens(total.into + tokens.into, total.out + tokens.out)
                if listed:
                    sent.append(Sent(item.task, item.text))
        self._plan = LabelWithSummary(
            project=self._pulled.project["id"],
            machine=options.name,
            model=options.model,
            url=options.url,
            noun=questions.content,
            tasks=len(self._chosen),
            known=sum(not self._is_open(self._key_of[task]) for task in self._chosen),
            examples=len(self._examples),
            examples_wanted=options.examples,
            left=len(self._left),
            replaced=self._replaced(),
            estimated_tokens_in=total.into,
            estimated_tokens_out=total.out,
            estimated_cost=None if options.prices is None else options.prices.cost(total),
            texts=sent,
        )
        return self._plan

    def _replaced(self) -> int:
        """How many labels the machine gave under other instructions, which no longer count."""
        known = self._state.machines().get(self._options.name)
        if known is None or known.get("setup") == self._setup:
            return 0
        return len(self._state.stored_machine_labels(self._options.name))

    def register(self) -> None:
        """Records the machine, and its labels as far as they are known."""
        state, name = self._state, self._options.name
        with state.lock():
            known = state.machines().get(name)
            if known is not None and known.get("setup") != self._setup:
                state.drop_machine(name)
            if known is None or known.get("setup") != self._setup:
                examples = {str(task): list(example) for task, example in self._examples.items()}
                state.put_machine(name, {"setup": self._setup, "examples": examples, "wanted": self._options.examples})
        stored = state.stored_machine_labels(name)
        labels = {
            task: label
            for key in self._answers
            for task, label in self._labels(key).items()
            if stored.get(task) != label
        }
        if labels:
            state.store_machine_labels(name, labels)

    def _labels(self, key: str) -> dict[int, MachineLabel]:
        """{task: label} of all tasks with one content."""
        answer, sources = self._answers[key], self._sources
        return {task: MachineLabel(answer.label, answer.score, sources[task]) for task in self._tasks_of[key]}

    # -- asking ------------------------------------------------------------------------------------------------------

    def ask(self, stage: Stage) -> LabelWithSummary:
        """Asks for all contents that are left, a few at a time."""
        options = self._options
        error: ConnectorError | None = None
        stopped = ""
        model = Model(
            options.model,
            options.url,
            options.key,
            self._prompt.schema,
            self._ledger,
            retry_seconds=options.retry_seconds,
            timeout=options.timeout,
            max_tokens=options.max_tokens,
        )
        with contextlib.closing(model), StopSignals() as signals, self._fetcher() as fetcher:
            asking = _Asking(model, self._prompt, self._state, options.parallel)
            try:
                for item, asked in asking.answers(self._with_images(fetcher), signals):
                    self._take(item, asked)
                    stage.count(self._counts.answered, len(self._left))
            except OutOfBudget:
                stopped = "budget"
            except Interrupted:
                stopped = "signal"
            except ConnectorError as failure:
                stopped, error = "error", failure
            self._counts.busy = asking.busy
        return self.summary(stopped, error)

    def _take(self, item: _Item, asked: _Asked) -> None:
        """Stores what came."""
        if asked.answer is None:
            self._counts.refused += 1
            assert asked.refusal is not None
            self._counts.reasons[f"the server refused the request ({asked.refusal.status})"] += 1
            if self._counts.refused >= _REFUSED_FROM_THE_START and not self._counts.answered:
                raise UsageError(
                    f"The server at {self._options.url} refuses all requests ({asked.refusal.status}): {asked.refusal}"
                )
            return
        self._state.store_answer(item.key, asked.answer)
        self._answers[item.key] = asked.answer
        self._counts.answered += 1
        if asked.answer.label is None:
            self._counts.reasons[asked.answer.reason] += 1
        if self._options.name not in self._state.machines():
            raise UsageError("The project was undone meanwhile. The answers are kept, and no more is sent.")
        self._state.store_machine_labels(self._options.name, self._labels(item.key))

    def summary(self, stopped: str = "", error: ConnectorError | None = None) -> LabelWithSummary:
        """What was done. `stopped` and `error`: as in LabelWithSummary."""
        counts, ledger = self._counts, self._ledger
        chosen = [self._answers[key] for task in self._chosen if (key := self._key_of[task]) in self._answers]
        return replace(
            self._plan,
            answered=counts.answered,
            refused=counts.refused,
            unfetched=counts.unfetched,
            busy=counts.busy,
            left=len(self._left) - counts.answered - counts.refused - counts.unfetched - counts.busy,
            labels=sum(answer.label is not None for answer in chosen),
            reasons=dict(counts.reasons),
            requests=ledger.requests,
            tokens_in=ledger.tokens.into,
            tokens_out=ledger.tokens.out,
            cost=ledger.cost,
            lost_cost=ledger.lost_cost,
            lost_tokens=sum(ledger.lost),
            budget=self._options.budget,
            stopped=stopped,
            error=error,
            texts=[],
        )

    # -- contents ----------------------------------------------------------------------------------------------------

    def _items(self, keys: Iterable[str]) -> Iterator[_Item]:
        """The contents with these keys, without images."""
        task_of = {key: self._tasks_of[key][0] for key in keys}
        texts = self._pulled.texts(task_of.values())
        for key, task in task_of.items():
            if task in texts:
                yield _Item(key, task, texts[task], again=key in self._answers)

    def _with_images(self, fetcher: Fetcher | None) -> Iterator[_Item]:
        """All contents that are to be asked, each with its images. One whose images cannot be fetched is left out."""
        at_once = _AT_ONCE if fetcher is None else self._options.parallel
        for part in batched(self._left, at_once):
            items = list(self._items(part))
            if fetcher is None:
                yield from items
                continue
            sources = {
                (item.key, place): Source(item.task, (address,))
                for item in items
                for place, address in enumerate(self._addresses(item.text))
            }
            copies = dict(fetcher.fetch(sources, KINDS["image"]))
            for item in items:
                images = [copies[item.key, place] for place in range(len(self._addresses(item.text)))]
                if any(isinstance(image, Failure) for image in images):
                    self._counts.unfetched += 1
                else:
                    item.images = tuple(image for image in images if isinstance(image, bytes))
                    yield item

    def _addresses(self, text: str) -> list[str]:
        """The addresses of the images of a content, each once."""
        questions = self._pulled.questions
        contents = [
            questions.text_of(text, place)
            for place, control in enumerate(questions.controls)
            if control.kind == "image"
        ]
        return list(dict.fromkeys(address for one in contents if one for address in one.split(PAGE_SEPARATOR)))

    def _images_of(self, text: str) -> Sequence[bytes]:
        """Stand-ins for the images of a content, for an estimate."""
        return [b""] * len(self._addresses(text))

    @contextlib.contextmanager
    def _fetcher(self) -> Iterator[Fetcher | None]:
        if not self._pulled.questions.has_media or not self._left:
            yield None
            return
        KINDS["image"].check()
        with open_fetcher(self._gateway, self._options.media_hosts) as fetcher:
            yield fetcher


class _Asking:
    """Asks in a few threads. The state is used by the calling thread alone."""

    def __init__(self, model: Model, prompt: Prompt, state: ProjectState, parallel: int) -> None:
        self._model, self._prompt, self._state, self._parallel = model, prompt, state, parallel
        self.busy = 0  # contents that another process is asking for

    def answers(self, items: Iterator[_Item], signals: StopSignals) -> Iterator[tuple[_Item, _Asked]]:
        """What each content gave, in the order in which it comes.

        If anything ends the run, no further content is sent. What is under way is waited for and handed out, and then
        the reason is raised.
        """
        pending: dict[Future[_Asked], tuple[_Item, str]] = {}
        reason: BaseException | None = None
        try:
            while True:
                while reason is None and len(pending) < self._parallel:
                    try:
                        item = next(items, None)
                    except ConnectorError as error:  # its images cannot be fetched
                        reason = error
                        break
                    if item is None:
                        break
                    claim = self._state.claim_answer(item.key, again=item.again)
                    if claim is None:
                        self.busy += 1
                        continue
                    pending[self._start(item)] = item, claim
                if not pending:
                    break
                done = wait(pending, _GLANCE, FIRST_COMPLETED).done
                if reason is None:
                    try:
                        signals.check()
                    except Interrupted as signal:
                        reason = signal
                        self._model.stop()
                for future in done:
                    item, claim = pending.pop(future)
                    try:
                        asked = future.result()
                    except (OutOfBudget, ConnectorError, Stopped) as error:
                        self._state.release_answer(item.key, claim)
                        if reason is None:
                            reason = error
                            if not isinstance(error, OutOfBudget):
                                self._model.stop()
                        continue
                    if asked.answer is None:
                        self._state.release_answer(item.key, claim)
                    yield item, asked
        finally:
            self._model.stop()
            for item, claim in pending.values():
                with contextlib.suppress(ConnectorError):
                    self._state.release_answer(item.key, claim)
        if reason is not None:
            raise reason

    def _start(self, item: _Item) -> Future[_Asked]:
        """Asks in a thread that does not keep the process from ending: a server may not answer for minutes."""
        future: Future[_Asked] = Future()

        def ask() -> None:
            try:
                future.set_result(self._ask(item))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=ask, name="asking", daemon=True).start()
        return future

    def _ask(self, item: _Item) -> _Asked:
        """Asks for one content, and once more if the answer is no label."""
        messages = self._prompt.messages(item.text, item.images)
        into = out = 0
        answer = Answer(None)
        for attempt in range(2):
            try:
                reply = self._model.ask(messages)
            except Exception as error:
                if attempt:  # the first answer was paid for, and another one cannot be had
                    break
                if isinstance(error, Refused):
                    return _Asked(None, error)
                raise
            into, out = into + reply.tokens.into, out + reply.tokens.out
            answer = self._answer(reply, into, out)
            if answer.reason not in _UNREADABLE:
                break
            messages = [*messages, *self._prompt.correction(reply.text or "")]
        return _Asked(answer)

    def _answer(self, reply: Reply, into: int, out: int) -> Answer:
        if reply.refused:
            return Answer(None, DECLINED, None, into, out)
        read = self._prompt.read(reply.text)
        if read.label is None and reply.cut:
            return Answer(None, CUT, None, into, out)
        score = reply.score if read.label is not None else None
        return Answer(read.label, read.problem, score, into, out)
