"""Runs the parts of a piece of work: here one by one, in processes of this machine, or on a Ray cluster."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import islice
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from joblib import Parallel, cpu_count, delayed, parallel_config
from threadpoolctl import threadpool_limits

from ml_backend.errors import BackendError, ClusterUnavailable
from ml_backend.settings import Settings

_T = TypeVar("_T")

_IDLE_SECONDS = 60  # processes of this machine wait this long for the next piece of work
_WATCH_SECONDS = 1.0
_PROBE_SECONDS = 10.0
_DIED = (
    "A worker process was killed, as the system does when memory runs out. Give the machine more memory,"
    " or set ML_BACKEND_PROCESSES to a smaller number."
)

log = logging.getLogger(__name__)
_connecting = Lock()
# The processes of this machine are one set. Without the lock, an error in one thread would take them from another.
_dividing = Lock()


class RemoteCall(NamedTuple):
    """A function of a module, to be called in any process with these arguments and one more."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class ParallelRunner:
    """Runs the parts of a piece of work through joblib. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings. It connects to nothing yet."""
        self._processes = settings.processes
        self._min_seconds = settings.divide_seconds
        self._address = settings.ray

    @property
    def distributed(self) -> bool:
        """Whether parts may run on other machines, which see no file of this one."""
        return self._address is not None

    def divides(self, seconds: float) -> bool:
        """Whether work of this many seconds in sequence is divided. To start processes takes time, too."""
        return self._processes != 1 and seconds >= self._min_seconds

    def run(
        self, function: Callable[..., _T], parts: Iterable[tuple[Any, ...]], count: int, *, seconds: float
    ) -> Iterator[_T]:
        """Call `function(*part)` for each part. Take all results before you run more.

        In another process, each call has one thread of BLAS and its share of the processors.

        Args:
            function: A function of a module.
            parts: The arguments of each call, which can be pickled.
            count: The number of parts.
            seconds: Roughly the time that all of them would take in sequence.

        Returns:
            The results, in the order of the parts.

        Raises:
            ClusterUnavailable: The Ray cluster cannot be reached, or a process died. Errors of `function` pass through.
        """
        processes = min(self._available(), count) if self.divides(seconds) else 1
        if processes <= 1:
            yield from (function(*part) for part in parts)
            return
        waiting, own_pid = iter(parts), os.getpid()
        with nullcontext() if self.distributed else _dividing:
            with self._backend(processes):
                # A part is made and sent when a process is free: each may be as large as all features.
                parallel = Parallel(pre_dispatch="n_jobs", batch_size=1, max_nbytes=None)
            with parallel:
                for _ in range(0, count, processes):
                    with _translated_errors():
                        done = parallel(delayed(_call)(own_pid, function, part) for part in islice(waiting, processes))
                    yield from done

    def _available(self) -> int:
        """The largest number of processes."""
        if self._address is None:
            return self._processes or cpu_count()
        _connect(self._address)
        return min(self._processes or _cores(), _cores())

    def _backend(self, processes: int) -> parallel_config:
        if self._address is None:
            options = {"inner_max_num_threads": 1, "idle_worker_timeout": _IDLE_SECONDS}
            return parallel_config(backend="loky", n_jobs=processes, **options)
        # As many threads as processors (Ray sets OMP_NUM_THREADS), and not more than the smallest machine has.
        cores = max(1, min(_cores() // processes, _cores_of_smallest()))
        return parallel_config(backend="ray", n_jobs=processes, ray_remote_args={"num_cpus": cores})


class _translated_errors(AbstractContextManager[None]):
    """Translates errors of joblib and Ray: raises what the function raised, or that its process died."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        cause = getattr(error, "cause", None)  # Ray wraps what a function raises
        if isinstance(cause, BackendError):
            raise cause from None
        if isinstance(error, BrokenExecutor) or type(error).__name__ in ("ActorDiedError", "OutOfMemoryError"):
            raise ClusterUnavailable(_DIED) from error


def _connect(address: str) -> None:
    """Connect this process to a Ray cluster, once. Raises ClusterUnavailable.

    A connected process ends when the cluster has been away for a minute, so a server must never connect.
    """
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ClusterUnavailable(
            "ML_BACKEND_RAY is set and Ray is not installed: pip install 'label-studio-activelab[ray]', or unset it."
        ) from error
    with _connecting:
        register_ray()
        # Ray warns of an option of joblib's that it does not know, again for each piece of work.
        logging.getLogger("ray.util.multiprocessing.pool").setLevel(logging.ERROR)
        if ray.is_initialized():
            return
        log.info("Connecting to the Ray cluster at %s.", address)
        try:
            _probe(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # errors of Ray, of sockets and of files
            log.warning("The Ray cluster could not be reached.", exc_info=True)
            raise ClusterUnavailable(
                "The Ray cluster of ML_BACKEND_RAY cannot be reached (the log says why). Make this machine part of it"
                " (ray start --head, or --address=…) with its token, or unset ML_BACKEND_RAY."
            ) from error


def _probe(address: str) -> None:
    """Raise OSError if nothing listens at an address that names a port. Ray would try for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is not None and parts.port is not None:
        socket.create_connection((parts.hostname, parts.port), timeout=_PROBE_SECONDS).close()


def _cores() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _cores_of_smallest() -> int:
    import ray

    return int(min((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1))


def _call(parent: int, function: Callable[..., _T], part: tuple[Any, ...]) -> _T:
    _end_with(parent)
    with threadpool_limits(1, user_api="blas"):
        return function(*part)


@cache
def _end_with(parent: int) -> None:
    """End this process when its parent ends. A parent that is killed cannot tell it to."""
    if os.getppid() == parent:
        Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
