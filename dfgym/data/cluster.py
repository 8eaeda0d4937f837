"""Work on the machines of a Ray cluster, in the form of a pool of processes."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from dfgym.errors import ConfigError, DfgymError, MissingPackageError

LOCAL = "local"
"""Instead of a cluster's address: a cluster of this machine alone, which ends with its pool."""

PATIENCE = 10.0
"""Seconds within which a cluster's machine must answer."""


@dataclass(frozen=True)
class Cluster:
    """Processes of a Ray cluster."""

    address: str
    """Ray's: `auto`, `host:6379` or `ray://host:10001`; or `local`."""
    processes: int = 2
    """How many work at a time; a local cluster has no more."""


class RayFuture:
    """A result that is on its way; of those of `concurrent.futures`, what a crew needs."""

    def __init__(self, ray: ModuleType, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def result(self) -> Any:
        """Wait for it.

        Raises:
            DfgymError: what the work raised, or all machines that did it are gone.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(self._reference)
        except errors.RayTaskError as reason:
            raise reason.cause from None  # what it raised itself, without Ray's many lines
        except errors.RayError as reason:
            text = str(reason).partition("\n")[0]
            raise DfgymError(f"Ray: {text}; the same command continues") from reason

    def cancel(self) -> None:
        """Let it be."""
        self._ray.cancel(self._reference)


class RayPool:
    """Processes of a Ray cluster. Work whose process or machine dies is done again elsewhere.

    Args:
        cluster: where they are.
        initializer: is called with `arguments` in each process before its first work.
        arguments: what can be pickled.

    Raises:
        ConfigError: there is no such cluster.
        MissingPackageError: ray is missing.
    """

    def __init__(self, cluster: Cluster, initializer: Callable[..., None], arguments: Any) -> None:
        self._ray, address = (ray := _import()), cluster.address
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address == LOCAL:
                ray.init(address=LOCAL, num_cpus=cluster.processes, **quiet)
            else:
                _knock(address)
                ray.init(address=address, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as reason:
            text = str(reason).partition("\n")[0]
            raise ConfigError(
                f"there is no Ray cluster at {address!r} ({text}); start one with `ray start "
                f"--head`, or give 'local' for this machine alone"
            ) from reason
        # max_retries: a work is a function of its arguments alone, so it can be done again.
        self._remote = ray.remote(max_retries=-1, num_cpus=1)(_work)
        # One process may serve several pools, and begins anew for each.
        self._mark = secrets.token_hex(8)
        self._setting = ray.put((initializer, arguments))

    def submit(self, function: Callable[[Any], Any], argument: Any) -> RayFuture:
        """Have a function called somewhere."""
        work = self._remote.remote(self._mark, self._setting, function, argument)
        return RayFuture(self._ray, work)

    def shutdown(self, cancel_futures: bool = True) -> None:
        """Leave the cluster, which forgets what it was to do for this pool."""
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at `host:port`: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def share_out(
    function: Callable[[Any], Any], arguments: Sequence[Any], cluster: Cluster | None
) -> Iterator[Any]:
    """Call a function with each argument, and yield what comes back in their order.

    Args:
        function: its result follows from the argument alone; like that, it can be pickled.
        arguments: one for each call.
        cluster: where to call it; None: here, one after the other.

    Raises:
        ConfigError: there is no such cluster.
        DfgymError: what a call raised, or all machines that did it are gone.
        MissingPackageError: ray is missing.
    """
    if cluster is None:
        yield from map(function, arguments)
        return
    pool = RayPool(cluster, lambda: None, ())
    try:
        for future in [pool.submit(function, argument) for argument in arguments]:
            yield future.result()
    finally:
        pool.shutdown()


_BEGUN: list[str] = []  # the pool that this process last worked for, if Ray started it


def _work(
    mark: str,
    setting: tuple[Callable[..., None], Any],
    function: Callable[[Any], Any],
    argument: Any,
) -> Any:
    if _BEGUN != [mark]:
        setting[0](*setting[1])
        _BEGUN[:] = [mark]
    return function(argument)


def _import() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as reason:
        raise MissingPackageError(
            f'several machines need one more package ({reason}): pip install "dfgym[ray]"'
        ) from reason
    return ray
