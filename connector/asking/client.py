"""Asks an OpenAI-compatible server. The only place that knows the library `openai`.

The library opens connections and knows the protocol. Repeating requests is left to `connector.retry`, as everywhere in
the connector: its waits have a limit, and each attempt is entered in the ledger.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from connector.asking.cost import Ledger, Tokens, at_most, estimated
from connector.errors import TryAgainLater, UsageError, unusable_environment
from connector.formatting import one_line
from connector.retry import CONNECT_SECONDS, Retries, TransientError, failed_answer, is_transient

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

OPENAI = "https://api.openai.com/v1"
# The strictest first. The second is that of llama-cpp-python and others, which restrict answers by a schema there.
_FORMATS = ("json_schema", "json_object_with_schema", "json_object", "text")
# What limits an answer. OpenAI's newer models refuse the second, and servers that do not know the first ignore it.
_LIMITS = ("max_completion_tokens", "max_tokens")
_LONGEST = 200  # characters that are shown of a server's own words
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")


class Stopped(Exception):
    """The run has ended meanwhile."""


class Refused(Exception):
    """The server refuses this request for good.

    `status`: its HTTP status. The text: in its own words. `named`: the parameters that it names.
    """

    def __init__(self, status: int, words: str, named: Sequence[str] = ()) -> None:
        super().__init__(words)
        self.status = status
        self.named = named


class Reply(NamedTuple):
    """What came back.

    Attributes:
        text: The answer. None: there is none.
        refused: Whether the model, or a filter before it, declines to answer.
        cut: Whether the answer was cut off because it is too long.
        score: The probability of the answer by the model. None: the server does not say it.
        tokens: Of the request and its answer.
    """

    text: str | None
    refused: bool
    cut: bool
    score: float | None
    tokens: Tokens


@dataclass(frozen=True)
class _Shape:
    """What a request asks for beside the messages. Servers and models refuse parts of it."""

    form: str = _FORMATS[0]
    limits: tuple[str, ...] = _LIMITS  # that are still to be tried
    logprobs: bool = True
    temperature: bool = True

    def parameters(self, schema: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
        values: dict[str, Any] = {self.limits[0]: max_tokens}
        if self.form == "json_schema":
            named = {"name": "labels", "strict": True, "schema": schema}
            values["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.form == "json_object_with_schema":
            values["response_format"] = {"type": "json_object", "schema": schema}
        elif self.form == "json_object":
            values["response_format"] = {"type": "json_object"}
        if self.logprobs:
            values["logprobs"] = True
        if self.temperature:
            values["temperature"] = 0
        return values

    def without(self, name: str) -> _Shape | None:
        """The shape without a parameter, or with less of it. None: it has nothing of that."""
        if name == "logprobs":
            return replace(self, logprobs=False) if self.logprobs else None
        if name == "temperature":
            return replace(self, temperature=False) if self.temperature else None
        if name == "response_format":
            place = _FORMATS.index(self.form) + 1
            return replace(self, form=_FORMATS[place]) if place < len(_FORMATS) else None
        return replace(self, limits=self.limits[1:]) if name == self.limits[0] and len(self.limits) > 1 else None

    def weaker(self, named: Sequence[str]) -> _Shape | None:
        """The next shape to try: without the parameters that the server names, or else without one of them."""
        shape = self
        for name in named:
            shape = shape.without(name) or shape
        if shape != self:
            return shape
        names = ("logprobs", "response_format", "temperature", self.limits[0])
        return next(filter(None, map(self.without, names)), None)


_PARAMETERS = ("logprobs", "temperature", "response_format", *_LIMITS)
_OTHER_WORDS = {"json_schema": "response_format", "json_object": "response_format", "top_logprobs": "logprobs"}


class Model:
    """A model at an OpenAI-compatible address. Several threads may ask it. Close it in the end."""

    def __init__(
        self,
        name: str,
        url: str,
        key: str | None,
        schema: Mapping[str, Any],
        ledger: Ledger,
        *,
        retry_seconds: float,
        timeout: float,
        max_tokens: int,
    ) -> None:
        """Opens no connection yet.

        Args:
            name: As the server knows it.
            url: The address, up to what comes before /chat/completions.
            key: The API key. None: the server needs none.
            schema: The JSON schema of an answer.
            ledger: What is spent is entered there.
            retry_seconds: How long a request is repeated that fails in a way that may pass.
            timeout: Seconds that one attempt may take.
            max_tokens: Most tokens of an answer.

        Raises:
            UsageError: The library is not installed, or no connection can be opened in this environment.
        """
        self._openai = load_library()
        self._name, self._url, self._key, self._schema, self._ledger = name, url, key, schema, ledger
        self._timeout, self._max_tokens = timeout, max_tokens
        self._stop = threading.Event()
        # A request that ran into the timeout may be repeated once.
        self._retries = Retries(retry_seconds + timeout if retry_seconds else 0, sleep=self._sleep)
        self._lock, self._settled = threading.Lock(), False
        self._shape = _Shape() if url == OPENAI else _Shape(limits=_LIMITS[::-1])
        self._client = self._connect()

    def _connect(self) -> openai.OpenAI:
        library = self._openai
        try:
            client: openai.OpenAI = library.OpenAI(
                base_url=self._url,
                api_key=self._key or "none",
                max_retries=0,
                timeout=library.Timeout(self._timeout, connect=min(CONNECT_SECONDS, self._timeout)),
                # The texts go to the address that was shown, and to no other.
                http_client=library.DefaultHttpxClient(follow_redirects=False),
            )
        except Exception as error:  # whatever the library makes of proxies and certificates
            raise unusable_environment(error) from None
        if self._url != OPENAI:
            client.organization = client.project = None  # another server need not know them
        return client

    def close(self) -> None:
        """Ends what is under way, and closes all connections."""
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Sends no further request, and ends all waits."""
        self._stop.set()

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def ask(self, messages: Sequence[Mapping[str, Any]]) -> Reply:
        """The reply to one conversation.

        Raises:
            Refused: The server refuses this request.
            OutOfBudget: It could cost more than is left.
            Stopped: The run has ended meanwhile.
            TryAgainLater: The server does not answer, or asks to wait for too long.
            UsageError: The server refuses all requests: the key, the model or the address is wrong, or no credit left.
        """
        shape = self._shape
        while True:
            try:
                reply = self._retries.call(lambda: self._attempt(messages, shape), repeatable=True)  # noqa: B023
            except Refused as refusal:
                with self._lock:
                    # Once a request has worked, what is refused is this task. Its text must not change later requests.
                    next_shape = (self._shape if shape != self._shape else None) if self._settled else None
                    if next_shape is None and not self._settled:
                        next_shape = shape.weaker(refusal.named)
                if next_shape is None:
                    raise
                shape = next_shape
                continue
            with self._lock:
                if not self._settled:
                    self._shape, self._settled = shape, True
            return reply

    def _attempt(self, messages: Sequence[Mapping[str, Any]], shape: _Shape) -> Reply:
        """One request. Raises TransientError if it may be repeated."""
        most = at_most(messages, self._schema, self._max_tokens)
        self._ledger.reserve(most)  # which may wait
        if self._stop.is_set():
            self._ledger.refused(most)
            raise Stopped
        with self._errors(most, messages, shape):
            created = self._client.chat.completions.create(
                model=self._name,
                messages=cast(Any, messages),
                **shape.parameters(self._schema, self._max_tokens),
            )
            reply = self._read(created, messages)
        self._ledger.answered(most, reply.tokens)
        return reply

    def _read(self, created: ChatCompletion, messages: Sequence[Mapping[str, Any]]) -> Reply:
        try:
            (choice, *_) = created.choices
            text, refusal = choice.message.content, choice.message.refusal
            usage = created.usage
            tokens = estimated(messages, self._schema, text or "")
            if usage is not None and usage.prompt_tokens is not None and usage.completion_tokens is not None:
                tokens = Tokens(int(usage.prompt_tokens), int(usage.completion_tokens))
            score = _probability(choice) if isinstance(text, str) and text.lstrip().startswith("{") else None
            refused = bool(refusal) or choice.finish_reason == "content_filter"
            if not isinstance(text, str | None):
                raise TypeError
            return Reply(text, refused, choice.finish_reason == "length", score, tokens)
        except (AttributeError, TypeError, ValueError) as error:
            raise json.JSONDecodeError("no completion", "", 0) from error

    @contextlib.contextmanager
    def _errors(self, most: Tokens, messages: Sequence[Mapping[str, Any]], shape: _Shape) -> Iterator[None]:
        """Raises errors of ours, and enters what became of the request. They keep no error of the library, which may
        quote the key or the task.
        """
        library, server = self._openai, f"The server at {self._url}"
        try:
            yield
        except library.APIStatusError as error:
            failure = self._status_error(
                error, server, _named(self._words(error), messages) if self._may_change(shape) else []
            )
            unpaid = not isinstance(failure, TransientError) or failure.unprocessed
            (self._ledger.refused if unpaid else self._ledger.unknown)(most)
            raise failure from None
        except library.APITimeoutError as error:
            unsent = _is_unsent(error)
            (self._ledger.refused if unsent else self._ledger.unknown)(most)
            words = f"{server} did not answer within {self._timeout:g} s."
            raise TransientError(TryAgainLater(words), f"{server} did not answer", unprocessed=unsent) from None
        except library.APIConnectionError as error:
            unsent = _is_unsent(error)
            (self._ledger.refused if unsent else self._ledger.unknown)(most)
            what = "cannot be reached" if unsent else "ended the connection before it had answered"
            raise TransientError(TryAgainLater(f"{server} {what}."), f"{server} {what}", unprocessed=unsent) from None
        except (library.OpenAIError, ValueError):
            self._ledger.unknown(most)
            words = f"{server} answered, but not as an OpenAI-compatible server does."
            raise TransientError(TryAgainLater(words), f"{server} answered something else") from None
        except BaseException:
            self._ledger.unknown(most)
            raise

    def _status_error(self, error: openai.APIStatusError, server: str, named: Sequence[str]) -> Exception:
        status, words = error.status_code, shorten(self._words(error))
        code = str(getattr(error, "code", None) or "")
        if code in _NO_CREDIT or status == HTTPStatus.PAYMENT_REQUIRED:
            return UsageError(f"{server} says that there is no credit left: {words}")
        # Some servers fail over a parameter that they do not know.
        if is_transient(status) and not (named and status == HTTPStatus.INTERNAL_SERVER_ERROR):
            return failed_answer(server, status, error.response.headers, TryAgainLater(f"{server} answered {status}."))
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            names = "CONNECTOR_LLM_API_KEY" + (" or OPENAI_API_KEY" if self._url == OPENAI else "")
            return UsageError(f"{server} refuses the key ({status}): check {names}. It says: {words}")
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return UsageError(f"{server} has no model '{self._name}', or the address is wrong ({status}): {words}")
        if 300 <= status < 400:
            return UsageError(f"{server} redirects to another address. Nothing was sent there: correct --base-url.")
        return Refused(status, words, named)

    def _may_change(self, shape: _Shape) -> bool:
        """Whether a refusal may be one of the shape: none has worked yet, or another one than this."""
        with self._lock:
            return not self._settled or shape != self._shape

    def _words(self, error: openai.APIStatusError) -> str:
        """What the server says, in one line and without the key."""
        said = error.body.get("message") if isinstance(error.body, dict) else None
        words = one_line(str(said or error.message))
        return words.replace(self._key, "…") if self._key else words


def shorten(words: str) -> str:
    """The beginning of a server's words."""
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "…"


def load_library() -> Any:
    """The library. Raises UsageError if it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise UsageError(
            "connector label-with needs the library openai: pip install 'label-studio-activelab[machines]'."
        ) from error
    return openai


def _named(words: str, messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that a refusal names. What the task itself names does not count: servers may quote it."""
    ours = json.dumps(messages, ensure_ascii=False)
    names = [name for name in (*_PARAMETERS, *_OTHER_WORDS) if name in words and name not in ours]
    return list(dict.fromkeys(_OTHER_WORDS.get(name, name) for name in names))


def _is_unsent(error: Exception) -> bool:
    """Whether the server certainly did not get the request: no connection was made."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")


def _probability(choice: Any) -> float | None:
    """The probability of the whole answer: the product of those of its tokens."""
    tokens = getattr(choice.logprobs, "content", None) if choice.logprobs is not None else None
    if not tokens:
        return None
    total = math.fsum(min(0.0, float(token.logprob)) for token in tokens)
    return math.exp(total) if math.isfinite(total) else None
