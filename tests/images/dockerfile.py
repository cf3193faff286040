"""Reads a Dockerfile into stages: what the tests of the images need of it, and no more."""

import dataclasses
import json
import re
import shlex


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction, its continuation lines joined."""

    keyword: str  # upper case
    flags: dict[str, str]  # --from=x and the like
    value: str

    def words(self) -> list[str]:
        """The value in words, from its JSON or its shell form."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A ``FROM`` and all up to the next one."""

    name: str
    base: str  # another stage's name, or an image
    instructions: tuple[Instruction, ...]


def parse(text: str) -> dict[str, Stage]:
    """Stages by name, in the file's order.

    Raises:
        ValueError: A line that this reader does not know, or a stage with no name.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        match = re.fullmatch(r"([A-Z]+)\s+((?:--[a-z-]+=\S+\s+)*)(.+)", line)
        if match is None:
            raise ValueError(f"not an instruction: {line}")
        keyword, flags, value = match.groups()
        given = dict(flag[2:].split("=", 1) for flag in flags.split())
        if keyword == "FROM":
            match = re.fullmatch(r"(\S+) AS (\S+)", value)
            if match is None or match.group(2) in stages:
                raise ValueError(f"not a new named stage: {line}")
            base, name = match.groups()
            stages[name] = Stage(name, base, ())
        else:
            stage = stages[next(reversed(stages))]
            more = (*stage.instructions, Instruction(keyword, given, value))
            stages[stage.name] = dataclasses.replace(stage, instructions=more)
    return stages


def lineage(stages: dict[str, Stage], target: str) -> list[Stage]:
    """The stage ``target`` and those it is built upon, the first one first."""
    chain = [stages[target]]
    while chain[0].base in stages:
        chain.insert(0, stages[chain[0].base])
    return chain


def needed(stages: dict[str, Stage], target: str) -> list[str]:
    """Names of all stages that take part in ``target``, in the order of the file."""
    wanted: set[str] = set()
    waiting = [target]
    while waiting:
        for stage in lineage(stages, waiting.pop()):
            if stage.name not in wanted:
                wanted.add(stage.name)
                waiting += [i.flags["from"] for i in stage.instructions if "from" in i.flags]
    return [name for name in stages if name in wanted]


def environment(chain: list[Stage]) -> dict[str, str]:
    """What ``ENV`` has set at the end of ``chain``, ``PATH`` left unexpanded."""
    found: dict[str, str] = {}
    for stage in chain:
        for instruction in stage.instructions:
            if instruction.keyword == "ENV":
                found.update(word.split("=", 1) for word in instruction.words())
    return found


def last(chain: list[Stage], keyword: str) -> Instruction:
    """The last instruction of a kind in ``chain``."""
    return [i for stage in chain for i in stage.instructions if i.keyword == keyword][-1]
