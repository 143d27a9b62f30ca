"""Which recogniser runs: our own, one from a file, or one that is published."""

from __future__ import annotations

from pathlib import Path

from hime_core.faces import fetching, networks
from hime_core.faces.recognition import Recogniser

OWN = Path(__file__).parent.parent / "weights" / "faces" / "identity.safetensors"


def load_recogniser(weights: str | Path | None = None) -> Recogniser:
    """weights, as HIME_IDENTITY_WEIGHTS gives them: nothing for the network that comes with this package; a file, ours
    (.safetensors) or a state dict of facenet-pytorch's InceptionResnetV1; "casia" or a URL "https://…#sha256=…" for
    such a state dict from the cache.

    What the cache does not hold yet is fetched in the background, and our own network serves until the next start:
    embeddings that are in use would not compare with those of another network. Raises InputError naming a file that
    cannot be used.
    """
    if weights is None or not str(weights):
        return networks.read_own(OWN)
    if fetching.is_published(str(weights)):
        cached = fetching.cached_or_fetched(str(weights))
        return networks.read_inception(cached) if cached else networks.read_own(OWN)
    path = Path(weights)
    return networks.read_own(path) if path.suffix == ".safetensors" else networks.read_inception(path)
