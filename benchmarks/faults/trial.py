"""One accident: it is done, the command meets it, the same command goes on, and what is left is
compared with an unbroken run.

Contract: a verdict is a sentence that says what did not hold; empty if all did.
"""

import random
from collections.abc import Sequence

from benchmarks.faults import moments
from benchmarks.faults.commands import Ended, How, Lost
from benchmarks.faults.injectors import INJECTORS
from benchmarks.faults.place import Place
from benchmarks.faults.table import ENDS, Accident, Row
from pipeline.plan import NODES

_KILL = "kill in"
_MOST_SENTENCES = 3  # of a command that is refused
_NO_TRACES = ("Traceback (most recent call last)", "Segmentation fault", "core dumped")

_place: list[Place] = []  # of this process


def begin(place: Place) -> None:
    """Makes this process ready to try accidents."""
    place.alone()
    _place.append(place)


def jobs(accidents: Sequence[Accident]) -> list[list[Accident]]:
    """The accidents in the order of their trials; all kills in nodes are one chain."""
    kills = [one for one in accidents if one.row.do == _KILL]
    return [*([kills] if kills else []), *([one] for one in accidents if one.row.do != _KILL)]


def try_all(job: Sequence[Accident]) -> list[tuple[str, str]]:
    """The title and the verdict of each accident of a job."""
    [place] = _place
    if job[0].row.do == _KILL:
        return [(one.title, words) for one, words in try_kills(place, job)]
    return [(one.title, try_one(place, one)) for one in job]


def try_one(place: Place, accident: Accident) -> str:
    """Does one accident to the kept state; the verdict."""
    place.reset()
    rng = random.Random(accident.seed)  # noqa: S311 - guards nothing
    row = accident.row
    try:
        with INJECTORS[row.do](place, accident.to, rng) as how:
            _check(row, place.run(how))
            if row.first == "done":
                _check_whole(place, how)
        if row.remedy:
            command = [*row.remedy.split(), "--output", str(place.output)]
            _expect(place.inkwell([*command, "--serving", str(place.serving)]), 0)
        if row.first != "done":
            _expect(place.run(), 0)
            _check_whole(place, How())
    except Lost as lost:
        return str(lost)
    return ""


def try_kills(place: Place, chain: Sequence[Accident]) -> list[tuple[Accident, str]]:
    """Kills one run again and again, starting it again every time; the verdicts.

    Kills in every node begin with nothing; other chains begin with the kept state, of which the
    nodes' artifacts are deleted.

    Args:
        place: Where.
        chain: Done in the order in which nodes run.
    """
    killed = {one.to for one in chain}
    place.reset(place.empty if len(killed) == len(NODES) else None)
    if len(killed) != len(NODES):
        moments.again(place, *killed)
    order = list(place.seconds)
    chain = sorted(chain, key=lambda one: order.index(one.to))
    verdicts, before = [], ""
    for one in chain:
        rng = random.Random(one.seed)  # noqa: S311 - guards nothing
        try:
            ended = place.run(How(inside=moments.kill_in(place, one.to, rng)))
            _check(one.row, ended)
            _check_ran(ended, one.to, order[: order.index(before)] if before else [])
            verdicts.append("")
        except Lost as lost:
            verdicts.append(str(lost))
        before = one.to
    try:
        _expect(place.run(), 0)
        _check_whole(place, How())
    except Lost as lost:
        verdicts = [words or f"in the end {lost}" for words in verdicts]
    return list(zip(chain, verdicts, strict=True))


def _check(row: Row, ended: Ended) -> None:
    _expect(ended, *ENDS[row.first])
    if row.says and row.says not in ended.words:
        raise Lost(f"it did not say {row.says!r}: {ended.words[-300:]}")
    if row.first == "refused":
        lines = ended.err.splitlines()
        if not 0 < len(lines) <= _MOST_SENTENCES or not lines[0].startswith("inkwell: "):
            raise Lost(f"it did not give one sentence: {ended.words[-300:]}")
    if row.within and ended.seconds > row.within:
        raise Lost(f"it took {ended.seconds:.1f} s to end")


def _expect(ended: Ended, *codes: int) -> None:
    if ended.code not in codes:
        raise Lost(f"it ended with {ended.code}: {ended.words[-300:]}")
    if trace := next((words for words in _NO_TRACES if words in ended.words), ""):
        raise Lost(f"it printed {trace!r}: {ended.words[-300:]}")


def _check_ran(ended: Ended, node_id: str, ended_before: Sequence[str]) -> None:
    """Whether the kill hit the node, and nothing that had ended before the last kill ran again."""
    for node in ended_before:
        if f"] {node} done" in ended.out:
            raise Lost(f"{node} ran again")
    if f"] {node_id} started" not in ended.out or f"] {node_id} done" in ended.out:
        raise Lost("the kill missed the node")


def _check_whole(place: Place, how: How) -> None:
    if trouble := list(place.trouble(how.output)):
        raise Lost("; ".join(trouble))
