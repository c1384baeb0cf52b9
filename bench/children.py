"""Contenders in processes of their own, so that memory is theirs alone; stopped at a limit."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from bench.shapes import ROW, TIME, VIEW, Data, Spine, stored
from feature_store_assets.offline.schema import CREATED

REPOSITORY = Path(__file__).parent.parent
_REQUIREMENTS = Path(__file__).parent / "peers.txt"
_POLL_SECONDS = 0.05
_WARM_SPINE = Spine(20)


@dataclass(frozen=True)
class Contender:
    """A module of `bench.contenders`, the environment it needs, and which of its stores."""

    module: str
    peers: bool = False
    store: str | None = None
    exact: bool = True


CONTENDERS = {
    "ours": Contender("ours"),
    "polars": Contender("raw_polars"),
    "duckdb": Contender("raw_duckdb", peers=True),
    "feast-duckdb": Contender("feast_store", peers=True, store="duckdb", exact=False),
    "feast-file": Contender("feast_store", peers=True, store="file", exact=False),
}


@dataclass(frozen=True)
class Limits:
    """When a contender is stopped; the seconds count its imports and loading too."""

    seconds: int = 180
    gigabytes: int = 12


@dataclass(frozen=True)
class Asked:
    """What one contender is to answer, and with which settings of our store."""

    data: Data
    spine: Spine
    ttl: timedelta | None
    pandas: bool = False
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Seconds and bytes of one answer, or why there is none."""

    wall: float = 0
    cpu: float = 0
    peak: float = 0
    stopped: str = ""


def peers_python(home: Path) -> Path:
    """Return the interpreter of the peers' environment, made when it is first needed or changes."""
    folder = home / "peers"
    python, stamp = folder / "bin" / "python", folder / _REQUIREMENTS.name
    wanted = _REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Installing {_REQUIREMENTS.name} into {folder} ...", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        quiet = ["--quiet", "--disable-pip-version-check"]
        install = [str(python), "-m", "pip", "install", *quiet, "-r", str(_REQUIREMENTS)]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return python


def peers_versions(home: Path) -> str:
    """Say which libraries the peers are measured with."""
    site = next((home / "peers" / "lib").glob("python3*/site-packages"))
    found = {each.name.lower(): each.version for each in distributions(path=[str(site)])}
    names = ("feast", "duckdb", "dask", "ibis-framework", "pandas", "pyarrow")
    return ", ".join(f"{name} {found[name]}" for name in names)


def ask(name: str, asked: Asked, *, home: Path, keep: Path | None, limits: Limits) -> Outcome:
    """Let a contender answer once.

    Parameters
    ----------
    name
        One of `CONTENDERS`.
    home
        The folder of the peers' environment and the data.
    keep
        The Parquet file that the answer is written to, if it is to be compared.
    """
    contender = CONTENDERS[name]
    tiny = stored(home, asked.data.shape.tiny, _WARM_SPINE)
    warm = replace(asked, data=tiny, spine=_WARM_SPINE)
    job = _job(contender, asked, home=home, keep=keep)
    job["warm"] = _job(contender, warm, home=home, keep=None)
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "job.json"
    path.write_text(json.dumps(job))
    python = peers_python(home) if contender.peers else Path(sys.executable)
    command = [str(python), "-m", f"bench.contenders.{contender.module}", str(path)]
    with (scratch / "out").open("w+") as out, (scratch / "err").open("w+") as err:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=peers_environment(), stdout=out, stderr=err
        )
        stopped = _watch(process, limits)
        if not stopped and process.returncode:
            err.seek(0)
            complaint = err.read().strip()
            if contender.exact:
                raise RuntimeError(f"{name} failed: {complaint}")
            stopped = f"failed: {complaint.splitlines()[-1][:60]}"
        if stopped:
            return Outcome(stopped=stopped)
        out.seek(0)
        return Outcome(**json.loads(out.read().strip().splitlines()[-1]))


def read_through(asked: Asked, names: list[str]) -> None:
    """Bring the files into the page cache, so that nobody pays for the disk."""
    for contender in map(CONTENDERS.__getitem__, dict.fromkeys(names)):
        for group in _groups(contender, asked.data):
            paths = [group["one_file"]] if contender.store else [path for path, _ in group["files"]]
            for path in paths:
                with Path(path).open("rb") as file:
                    while file.read(1 << 24):
                        pass


def _job(contender: Contender, asked: Asked, *, home: Path, keep: Path | None) -> dict[str, Any]:
    data = asked.data
    return {
        "root": str(data.root),
        "view": VIEW,
        "groups": _groups(contender, data),
        "spine": str(data.spine(asked.spine)),
        "row": ROW,
        "timestamp": TIME,
        "created": CREATED,
        "ttl": None if asked.ttl is None else asked.ttl.total_seconds(),
        "pandas": asked.pandas,
        "settings": dict(asked.settings),
        "store": contender.store,
        "scratch": str(home / "scratch" / data.folder.name),
        "answer": None if keep is None else str(keep),
    }


def _groups(contender: Contender, data: Data) -> list[dict[str, Any]]:
    files = data.files()
    return [
        {
            "name": group.name,
            "key": group.key,
            "key_type": group.key_type,
            "features": group.features,
            "files": files[group.name],
            "one_file": str(data.one_file(group, files[group.name])) if contender.store else None,
        }
        for group in data.shape.groups
    ]


def peers_environment() -> dict[str, str]:
    """Return our environment without what configures a store of the person who measures."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("FEATURE_STORE_")
    }
    return {**kept, "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> str:
    """Wait for a process; return why it was stopped, or nothing."""
    end = time.monotonic() + limits.seconds
    stopped = ""
    while process.poll() is None and not stopped:
        if time.monotonic() > end:
            stopped = f"stopped at {limits.seconds} s"
        elif _resident(process.pid) > limits.gigabytes * 1e9:
            stopped = f"stopped at {limits.gigabytes} GB"
        else:
            time.sleep(_POLL_SECONDS)
    if stopped:
        process.kill()
        process.wait()
    return stopped


def _resident(pid: int) -> int:
    """Return the bytes that a process has in memory; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line for line in lines if line.startswith("VmRSS:")]
    return int(found[0].split()[1]) * 1024 if found else 0
