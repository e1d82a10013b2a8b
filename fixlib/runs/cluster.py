"""Dask clusters as workers of a sweep; Dask starts them, here, on Slurm or on Kubernetes (see docs)."""

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def connected(address: str, workers: int, see: Path) -> Iterator[tuple[Executor, type[Exception]]]:
    """The cluster of that address, or a "local" one made for the purpose, as an executor; and what it raises of a task
    whose workers kept dying.

    Raises:
        RuntimeError: Dask is not installed; the message says how to install it.
        OSError: no scheduler answers at that address.
        ValueError: workers with several threads (a run's random state is its process's), or workers that
            do not see the project's folder.
    """
    try:
        import dask
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError as error:
        raise RuntimeError("--dask needs Dask: pip install -c constraints.txt -e '.[scale]'") from error
    # Dask's own defaults set MALLOC_TRIM_THRESHOLD_, with which torch is more than twice as slow, and try a task that
    # kills its workers four times.
    settings: dict = {"distributed.nanny.pre-spawn-environ": dict.fromkeys(THREAD_VARIABLES, "1")}
    settings["distributed.scheduler.allowed-failures"] = 0
    with dask.config.set(settings), ExitStack() as stack:
        if address == "local":
            made = LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=None, dashboard_address=None)
            address = stack.enter_context(made)
        client = stack.enter_context(Client(address))
        _check(client, see)
        yield stack.enter_context(client.get_executor(pure=False)), KilledWorker


def _check(client: Any, see: Path) -> None:
    """Refuse workers that would give wrong numbers or write where nobody looks."""
    if not client.nthreads():
        print("waiting for a worker of the Dask cluster, e.g. `dask worker ADDRESS --nthreads 1`", flush=True)
        client.wait_for_workers(1)
    if several := [worker for worker, number in client.nthreads().items() if number != 1]:
        raise ValueError(
            f"the Dask workers {', '.join(several)} have several threads, and would mix the random "
            "numbers of the runs in them: start them with --nthreads 1"
        )
    token = see / "build" / f".seen-{uuid.uuid4().hex[:8]}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        blind = [worker for worker, sees in client.run(os.path.exists, str(token)).items() if not sees]
    finally:
        token.unlink()
    if blind:
        raise ValueError(
            f"the Dask workers {', '.join(blind)} do not see {see}: put the project on a disk that all "
            "machines share, under the same name, and run from there"
        )
