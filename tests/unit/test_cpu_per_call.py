"""The benchmark of an enhanced call: what it plays, and what it makes of what was measured."""

import threading

from benchmarks.calls.cpu_per_call import costliest, frames_of, mean
from benchmarks.shared.lockstep import Profiles
from benchmarks.shared.portrait import CLOSE_FRAMES, WALK_FRAMES


def test_the_face_is_close_twice_before_it_is_measured_far():
    clip = frames_of(320, 7)
    assert len(clip["frames"]) == 7
    assert len(clip["before"]) == 2 * CLOSE_FRAMES + WALK_FRAMES + 25
    assert clip["before"][0] == clip["before"][CLOSE_FRAMES]  # a keyframe, as what comes before it is another's


def test_means_have_every_name_and_the_largest_first():
    runs = [{"threads": {"decode": 1.0, "encode": 4.0}}, {"threads": {"encode": 6.0, "detect": 2.0}}]
    assert list(mean(runs, "threads").items()) == [("encode", 5.0), ("detect", 1.0), ("decode", 0.5)]


def test_functions_are_sorted_by_their_own_time():
    profile = {"functions": {"a": (1.0, 0.2), "b": (3.0, 0.9), "c": (1.0, 0.1)}}
    assert [row["function"] for row in costliest(profile, 2)] == ["b", "a"]


def test_a_threads_functions_are_known_by_its_name_and_those_of_others_are_not():
    profiles = Profiles()
    try:
        threads = [threading.Thread(target=count, args=(n,), name=f"worker {n}") for n in (10, 20)]
        for thread in threads:
            thread.start()
            thread.join()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed has it later
    calls = {name: calls for name, (calls, _) in profiles.calls().items() if "step" in name}
    assert calls == {
        "worker 10: unit/test_cpu_per_call.py step": 10,
        "worker 20: unit/test_cpu_per_call.py step": 20,
    }


def count(times: int) -> None:
    for _ in range(times):
        step()


def step() -> int:
    return sum(range(100))
