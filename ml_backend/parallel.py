"""Where the parts of a piece of work run: here one by one, in processes of this machine, or on a Ray cluster."""

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

_IDLE_SECONDS = 60  # processes of this machine stay for the next piece of work
_WATCH_SECONDS = 1.0
_KNOCK_SECONDS = 10.0
_DIED = (
    "A process that had part of the work was killed, as the system does where memory runs out: give the machine more,"
    " or set ML_BACKEND_PROCESSES to a smaller number."
)

log = logging.getLogger(__name__)
_connecting = Lock()
_dividing = Lock()  # the processes of this machine are one set, which an error in one thread would take from another


class RemoteCall(NamedTuple):
    """A function of a module, to be called with these arguments and one more, wherever it runs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class ParallelRunner:
    """Runs the parts of a piece of work through joblib; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._processes = settings.processes
        self._seconds = settings.divide_seconds
        self._address = settings.ray

    @property
    def distributed(self) -> bool:
        """Whether parts may run on other machines, which see no file of this one."""
        return self._address is not None

    def divides(self, seconds: float) -> bool:
        """Whether work of so many seconds, one part after the other, is divided: to start processes takes some, too."""
        return self._processes != 1 and seconds >= self._seconds

    def run(
        self, function: Callable[..., _T], parts: Iterable[tuple[Any, ...]], count: int, *, seconds: float
    ) -> Iterator[_T]:
        """`function(*part)` for each of `count` parts, in their order: a function of a module, and what can be pickled.

        `seconds`: what all of them would take one after the other, roughly. Elsewhere each has one thread of BLAS, and
        its share of the processors. Raises what `function` does, and ClusterUnavailable. Results are to be taken before
        more is run.
        """
        processes = min(self._available(), count) if self.divides(seconds) else 1
        if processes <= 1:
            yield from (function(*part) for part in parts)
            return
        waiting, here = iter(parts), os.getpid()
        with nullcontext() if self.distributed else _dividing:
            with self._backend(processes):
                # Parts are made, and sent, when a process is free to take them: each may be as large as all features.
                parallel = Parallel(pre_dispatch="n_jobs", batch_size=1, max_nbytes=None)
            with parallel:
                for _ in range(0, count, processes):
                    with _translated():
                        done = parallel(delayed(_call)(here, function, part) for part in islice(waiting, processes))
                    yield from done

    def _available(self) -> int:
        """How many processes there may be."""
        if self._address is None:
            return self._processes or cpu_count()
        _connect(self._address)
        return min(self._processes or _cores(), _cores())

    def _backend(self, processes: int) -> parallel_config:
        if self._address is None:
            options = {"inner_max_num_threads": 1, "idle_worker_timeout": _IDLE_SECONDS}
            return parallel_config(backend="loky", n_jobs=processes, **options)
        # As many threads as processors (Ray sets OMP_NUM_THREADS), and none that no machine has.
        cores = max(1, min(_cores() // processes, _cores_of_smallest()))
        return parallel_config(backend="ray", n_jobs=processes, ray_remote_args={"num_cpus": cores})


class _translated(AbstractContextManager[None]):
    """Errors of joblib's and Ray's own as ours: what a function raised, or that its process died."""

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        cause = getattr(error, "cause", None)  # Ray wraps what a function raises
        if isinstance(cause, BackendError):
            raise cause from None
        if isinstance(error, BrokenExecutor) or type(error).__name__ in ("ActorDiedError", "OutOfMemoryError"):
            raise ClusterUnavailable(_DIED) from error


def _connect(address: str) -> None:
    """Connect this process to a Ray cluster, once; raises ClusterUnavailable.

    A process that is connected ends when the cluster has been away for a minute: it must not be a server's.
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
        # joblib names how its processes start, which Ray warns of not knowing, for each piece of work anew.
        logging.getLogger("ray.util.multiprocessing.pool").setLevel(logging.ERROR)
        if ray.is_initialized():
            return
        log.info("Connecting to the Ray cluster at %s.", address)
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray's own, and those of sockets and files
            log.warning("The Ray cluster could not be reached.", exc_info=True)
            raise ClusterUnavailable(
                "The Ray cluster of ML_BACKEND_RAY cannot be reached (the log says why): have this machine be one of it"
                " (ray start --head, or --address=…) and hold its token, or unset ML_BACKEND_RAY."
            ) from error


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at an address that names a port: Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname is not None and place.port is not None:
        socket.create_connection((place.hostname, place.port), timeout=_KNOCK_SECONDS).close()


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
    """Have this process end with the one whose child it is: killed, that one can tell nobody."""
    if os.getppid() == parent:
        Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
