"""What a case found: kept as JSON, so that cases can be run apart and told together."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One contender's medians on one line, or why there are none; `answer` is how it compares."""

    name: str
    rows: int
    wall: float
    cpu: float
    peak: float
    stopped: str
    answer: str


@dataclass(frozen=True)
class Line:
    """Several contenders before one question; the ratios are to the first. `chart` is its short
    name in the picture, if it is drawn."""

    title: str
    entries: tuple[Entry, ...]
    aims: tuple[str, ...]
    chart: str


@dataclass(frozen=True)
class Result:
    """One case as it was run."""

    case: str
    about: str
    facts: tuple[str, ...]
    took: float
    lines: tuple[Line, ...]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.case}.json").write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> "Result":
        content: dict[str, Any] = json.loads(path.read_text())
        lines = tuple(
            Line(
                line["title"],
                tuple(Entry(**entry) for entry in line["entries"]),
                tuple(line["aims"]),
                line["chart"],
            )
            for line in content["lines"]
        )
        given = {**content, "facts": tuple(content["facts"]), "lines": lines}
        return cls(**given)
