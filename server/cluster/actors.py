"""The named actors of a cluster, found or started on Ray. Imported in the agent's process alone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray
from ray.exceptions import RayActorError

from server.cluster.directory import Directory
from server.cluster.orders import DIRECTORY, Orders
from server.cluster.told import FaceRefused

HEAD = "node:__internal_head__"  # Ray's name of what only the head node has

log = logging.getLogger(__name__)


class Actors:
    """Detached, so that they outlive who started them, and started again by Ray whenever they end."""

    def __init__(self, orders: Orders) -> None:
        """Joins the cluster. Raises ConnectionError where there is none."""
        own = orders.address == "local"
        options: dict[str, Any] = {"include_dashboard": False} if own else {}
        ray.init(
            address=orders.address,
            namespace=orders.namespace,
            log_to_driver=False,
            logging_level=logging.WARNING,
            **options,
        )
        self._orders = orders
        self._handles: dict[str, Any] = {}

    async def ask(self, actor: str, method: str, args: tuple[Any, ...], returns: int) -> Any:
        """returns: how many objects the method returns, where it is more than one a list of them."""
        handle = self._handles.get(actor)
        if handle is None:
            handle = self._handles[actor] = await asyncio.to_thread(self._found, actor)
        try:
            asked = getattr(handle, method).options(num_returns=returns).remote(*args)
            return await asyncio.gather(*asked) if returns > 1 else await asked
        except RayActorError:
            self._handles.pop(actor, None)
            raise

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        ray.shutdown()

    @staticmethod
    def name_of(error: Exception) -> str:
        """A short word: what an error says itself may hold what was asked."""
        cause = getattr(error, "cause", None) or error  # an actor's error is the cause of Ray's
        return str(cause) if isinstance(cause, FaceRefused) else type(error).__name__

    def _found(self, name: str) -> Any:
        """Started where it is not there yet."""
        options = {
            "name": name,
            "namespace": self._orders.namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
        }
        if name == DIRECTORY:
            # With the head, as without that nobody could be asked anyway: so no other machine's loss ends it.
            return ray.remote(Directory).options(num_cpus=0, resources={HEAD: 0.001}, **options).remote()
        from server.cluster.engine_actor import EngineActor

        cuda = self._orders.device == "cuda"
        wanted = {"num_gpus": 1, "num_cpus": 1} if cuda else {"num_cpus": 1}
        make = ray.remote(EngineActor).options(max_concurrency=1000, **wanted, **options)
        return make.remote(self._orders.weights, self._orders.device)
