"""Where the parts of a piece of work run: here one by one, in processes of this machine, or on a Ray cluster."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
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

# Processes are worth their start (scikit-learn's import takes one or two seconds, Ray's actors take several) where the
# work would take longer than this, one part after the other.
_WORTH_SECONDS, _WORTH_SECONDS_ON_RAY = 10.0, 30.0
_IDLE_SECONDS = 60  # processes of this machine stay for the next piece of work
_PARTS_A_PROCESS = 4  # whose results are held until the last of them is there
_WATCH_SECONDS = 1.0
_KNOCK_SECONDS = 10.0

log = logging.getLogger(__name__)
_connecting = Lock()


class Portable(NamedTuple):
    """A function of a module, to be called with these arguments and one more, wherever it runs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Cluster:
    """Runs the parts of a piece of work through joblib; safe to share between threads.

    Results are the same wherever they are computed: each is by one thread of BLAS, and they come in order.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet. Which processes there are, ML_BACKEND_PROCESSES and ML_BACKEND_RAY… say."""
        self._processes = settings.processes
        self._address = settings.ray
        self._gpus = settings.ray_gpus

    @property
    def distributed(self) -> bool:
        """Whether parts may run on other machines, which see no file of this one."""
        return self._address is not None

    def run(
        self, function: Callable[..., _T], parts: Iterable[tuple[Any, ...]], count: int, *, seconds: float
    ) -> Iterator[_T]:
        """`function(*part)` for each of `count` parts, in their order: a function of a module, and what can be pickled.

        `seconds`: what all of them would take one after the other, roughly. Short work is done here, unless
        ML_BACKEND_PROCESSES says how many processes are to be used. Raises what `function` does, ClusterUnavailable.
        """
        processes = min(self._available(seconds), count)
        if processes <= 1:
            for part in parts:
                with threadpool_limits(1, user_api="blas"):
                    done = function(*part)
                yield done
            return
        waiting, here = iter(parts), os.getpid()
        with self._backend(processes):
            # Parts are made, and sent, when a process is free to take them: each may be as large as all features.
            parallel = Parallel(pre_dispatch="n_jobs", batch_size=1, max_nbytes=None)
        with parallel:
            for _ in range(0, count, _PARTS_A_PROCESS * processes):
                group = islice(waiting, _PARTS_A_PROCESS * processes)
                try:
                    done = parallel(delayed(_call)(here, function, part) for part in group)
                except Exception as error:
                    cause = getattr(error, "cause", None)  # Ray wraps what a function raises
                    raise (cause if isinstance(cause, BackendError) else error) from None
                yield from done

    def _available(self, seconds: float) -> int:
        """How many processes there are for work of so many seconds; 1 for none but this one."""
        if self._processes:
            return self._processes
        if self._address is None:
            return cpu_count() if seconds >= _WORTH_SECONDS else 1
        return self._of_ray(self._address) if seconds >= _WORTH_SECONDS_ON_RAY else 1

    def _of_ray(self, address: str) -> int:
        _connect(address)
        import ray

        has = ray.cluster_resources()
        return max(1, int(has.get("GPU", 0) / self._gpus if self._gpus else has.get("CPU", 1)))

    def _backend(self, processes: int) -> parallel_config:
        if self._address is None:
            options = {"inner_max_num_threads": 1, "idle_worker_timeout": _IDLE_SECONDS}
            return parallel_config(backend="loky", n_jobs=processes, **options)
        _connect(self._address)
        return parallel_config(backend="ray", n_jobs=processes, ray_remote_args={"num_gpus": self._gpus})


def _connect(address: str) -> None:
    """Connect this process to a Ray cluster, once; raises ClusterUnavailable."""
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
                "The Ray cluster of ML_BACKEND_RAY cannot be reached: start it (ray start --head), correct the address,"
                " or unset it, and the work is done on this machine."
            ) from error


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at an address that names a port: Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname is not None and place.port is not None:
        socket.create_connection((place.hostname, place.port), timeout=_KNOCK_SECONDS).close()


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
