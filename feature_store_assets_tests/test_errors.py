"""Every error: what it says, what it inherits, and that it survives the way between processes."""

import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from feature_store_assets import errors
from feature_store_assets.errors import FeatureStoreError, suggestion

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ROWS = [{"customer": "#ab12cd34", "x": str(number)} for number in range(7)]

# One example at least of each class: how it is made, what its message must match.
EXAMPLES: dict[str, list[tuple[Callable[[], FeatureStoreError], str]]] = {
    "FeatureStoreError": [(lambda: errors.FeatureStoreError("It broke."), "It broke.")],
    "ConfigError": [(lambda: errors.ConfigError("No setting 'x'."), "No setting 'x'.")],
    "DeclarationError": [(lambda: errors.DeclarationError("It cannot be."), "It cannot be.")],
    "UnknownExpectation": [
        (
            lambda: errors.UnknownExpectation("colum_to_exist", ["column_to_exist"]),
            "no expectation 'expect_colum_to_exist'. Did you mean 'column_to_exist'?",
        ),
        (
            lambda: errors.UnknownExpectation("x", ["min_value"], argument="min_valu"),
            r"expect.x\(\) takes no argument 'min_valu'. Did you mean 'min_value'?",
        ),
    ],
    "DependencyCycle": [
        (lambda: errors.DependencyCycle(["a", "b", "a"]), r"in a circle: a -> b -> a\. Nothing")
    ],
    "NotFound": [(lambda: errors.NotFound("Nothing has it."), "Nothing has it.")],
    "EntityNotFound": [
        (lambda: errors.EntityNotFound("user", ["plane"]), "entity .*'user'. There are: 'plane'.")
    ],
    "FeatureNotFound": [
        (
            lambda: errors.FeatureNotFound("spent", "spending", ["spend_7d", "orders_7d"]),
            "No feature is named 'spent' in 'spending'. Did you mean 'spend_7d'?",
        )
    ],
    "GroupNotFound": [
        (lambda: errors.GroupNotFound("a", ["b"]), "No feature group is named 'a'.* are: 'b'."),
        (lambda: errors.GroupNotFound("a", ["a"], version=3), "'a' in version 3. .* 'a'?"),
        (lambda: errors.GroupNotFound("a", []), "None is applied .*run `feature-store apply`."),
    ],
    "ViewNotFound": [
        (lambda: errors.ViewNotFound("churm", ["churn"]), "view .*'churm'. Did you mean 'churn'?"),
        (lambda: errors.ViewNotFound("churn", []), "run `feature-store apply`"),
    ],
    "SnapshotNotFound": [
        (lambda: errors.SnapshotNotFound("s1", ["s2"]), "snapshot is named 's1'. .* 's2'?"),
        (lambda: errors.SnapshotNotFound("s1", []), "none yet: run the `snapshot_job`, or"),
    ],
    "TrainingSetNotFound": [
        (
            lambda: errors.TrainingSetNotFound("t1", ["t2"]),
            "No training set is named 't1'. Did you mean 't2'?",
        ),
        (
            lambda: errors.TrainingSetNotFound("t1", []),
            "none yet: make one with `create_training_set`.",
        ),
    ],
    "NotServed": [
        (lambda: errors.NotServed("g", "draft"), "'g' is draft and not served online. Name its"),
        (lambda: errors.NotServed("g", "retired", "h"), "Use 'h' instead."),
        (lambda: errors.NotServed("g", "retired"), "Its rows are still in its table."),
    ],
    "StageRefused": [
        (
            lambda: errors.StageRefused("g", "draft", "deprecated", ["active", "retired"]),
            "'g' is draft and cannot become deprecated. It can become active or retired.",
        ),
        (lambda: errors.StageRefused("g", "retired", "active", []), "That is for good."),
    ],
    "AuditBroken": [
        (lambda: errors.AuditBroken(["missing: 4"]), "tampered with: missing: 4. Compare it"),
        (lambda: errors.AuditBroken(["missing: 4"] * 30), "; and 10 more. Compare"),
    ],
    "TokenNotFound": [
        (
            lambda: errors.TokenNotFound("ci", ["cd"]),
            "No token in the registry is named 'ci'. Did you mean 'cd'?",
        ),
        (
            lambda: errors.TokenNotFound("ci", []),
            "none yet: run `feature-store token create`.",
        ),
    ],
    "NotQuarantined": [
        (
            lambda: errors.NotQuarantined("g", "2024-01-02", ["2024-01-01"]),
            "partition '2024-01-02' of 'g' lies in quarantine. Did you mean '2024-01-01'?",
        ),
        (lambda: errors.NotQuarantined("g", "mon", []), "in quarantine. Nothing of 'g' does.$"),
    ],
    "ModelNotFound": [
        (lambda: errors.ModelNotFound("m1", ["m2"]), "No model is named 'm1'. .* 'm2'?"),
        (lambda: errors.ModelNotFound("m1", []), "none yet: training code calls `log_model`."),
    ],
    "LineageNotFound": [
        (
            lambda: errors.LineageNotFound("orders.amuont", ["orders.amount"]),
            "named 'orders.amuont': give .*derived from. Did you mean 'orders.amount'?",
        )
    ],
    "AmbiguousFeature": [
        (
            lambda: errors.AmbiguousFeature("age", ["b.age", "a.age"]),
            "'age' may be 'a.age', 'b.age': say which.",
        )
    ],
    "ExtraMissing": [
        (
            lambda: errors.ExtraMissing("networkx", "lineage"),
            r"networkx is not installed: pip install 'feature_store_assets\[lineage\]'.",
        )
    ],
    "DagsterUnavailable": [
        (
            lambda: errors.DagsterUnavailable("instance", "Set DAGSTER_HOME."),
            "no Dagster instance here. Set DAGSTER_HOME.",
        )
    ],
    "VersionExpired": [
        (
            lambda: errors.VersionExpired("g", NOON, "s1"),
            r"'g' .*as of 2024-01-01T12:00:00\+00:00. The nearest snapshot .*'s1'.",
        ),
        (lambda: errors.VersionExpired("g", 7), "as of version 7. No snapshot holds it"),
    ],
    "DataError": [(lambda: errors.DataError("Not these."), "Not these.")],
    "SchemaMismatch": [
        (
            lambda: errors.SchemaMismatch("g", "x", wanted="int64", got=None),
            r"Column 'x' \(int64\) of 'g' is missing",
        ),
        (
            lambda: errors.SchemaMismatch("g", "x", wanted=None, got="string", hint="Drop it."),
            r"'g' declares no column 'x' \(string\). Drop it.",
        ),
        (
            lambda: errors.SchemaMismatch("g", "x", wanted="int64", got="string"),
            "'x' of 'g' is declared int64, the data has string.",
        ),
    ],
    "NullKeys": [
        (
            lambda: errors.NullKeys("g", "customer", 7, ROWS),
            "7 row.* for 'g' have no 'customer'. .*drop or repair them(.|\n)*'x': '4'}$",
        )
    ],
    "DuplicateRows": [
        (
            lambda: errors.DuplicateRows("g", ["customer", "t"], 7, ROWS),
            r"7 row.* for 'g' repeat another row's \(customer, t\).* `unique.*(.|\n)*'x': '4'}$",
        )
    ],
    "ChangedFacts": [
        (
            lambda: errors.ChangedFacts("g", 7, ROWS),
            "7 row.* for 'g' are stored already .*mode='upsert'(.|\n)*'x': '4'}$",
        )
    ],
    "NaiveTimestamps": [
        (lambda: errors.NaiveTimestamps("g", "t"), "'t' of 'g' have no time zone.*`timezone=`")
    ],
    "OutsideCalendar": [
        (
            lambda: errors.OutsideCalendar("g", "until", 3, [(7, {"until": "10000"})], "Why?"),
            r"3 row\(s\) for 'g' have a 'until' outside .* Why\?\n  row 7: \{'until': '10000'\}",
        )
    ],
    "OutsideWindow": [
        (
            lambda: errors.OutsideWindow("g", 7, "2024-01-01", ROWS),
            "7 row.* for 'g' lie outside 2024-01-01. .*filter by `window`(.|\n)*'x': '4'}$",
        )
    ],
    "OutOfBounds": [
        (
            lambda: errors.OutOfBounds("g", {"x ge=0": 3, "y le=1": 1}),
            r"'g' break .*: x ge=0: 3 row\(s\); y le=1: 1 row\(s\). Repair the rows",
        )
    ],
    "SpineError": [(lambda: errors.SpineError("No key."), "No key.")],
    "AnswerTooLarge": [
        (
            lambda: errors.AnswerTooLarge(5_000_000, 12_345_678_901, 4_000_000_000),
            r"5,000,000 rows takes about 12.3 GB .*memory_limit \(4.0 GB\). Give out='feat",
        )
    ],
    "WriteRefused": [(lambda: errors.WriteRefused("Not now."), "Not now.")],
    "WrittenByDagster": [
        (lambda: errors.WrittenByDagster("g"), "'g' is computed .*`feature-store materialize g`")
    ],
    "DeclarationChanged": [
        (
            lambda: errors.DeclarationChanged("g", ["x changed", "y changed"]),
            r"'g' differs .*\(x changed; y changed\). Nothing was written: run `feature-store app",
        )
    ],
    "BreakingChange": [
        (
            lambda: errors.BreakingChange("g", 1, ["x is removed"]),
            "'g' version 1 .*: x is removed. Declare version=2, a new table.",
        )
    ],
    "ImportConflict": [
        (
            lambda: errors.ImportConflict(["group a v1", "view v"]),
            "otherwise:\n  group a v1\n  view v",
        ),
        (lambda: errors.ImportConflict(["view v"]), "on_conflict='keep' or on_conflict='replace'"),
        (lambda: errors.ImportConflict(["view v"], final=True), "give them a new version"),
        (lambda: errors.ImportConflict([f"view v{n}" for n in range(103)]), "v99\n  and 3 more"),
    ],
    "NameTaken": [
        (lambda: errors.NameTaken("s"), "A snapshot named 's' exists already.*never change"),
        (
            lambda: errors.NameTaken("s", "training set"),
            "A training set named 's' exists already, and training sets never change.$",
        ),
        (
            lambda: errors.NameTaken("s", "token"),
            "A token named 's' exists already, .* never change. Revoke it first, or take another",
        ),
    ],
    "LeaseHeld": [
        (lambda: errors.LeaseHeld("backup", "host 1"), r"at 'backup' .*host 1\)\. Wait for its end")
    ],
    "LeaseLost": [(lambda: errors.LeaseLost("backup"), "'backup' was taken over by another proc")],
    "WriteConflict": [
        (lambda: errors.WriteConflict("g", 20), "'g' was not written: 20 attempts.*Run it again")
    ],
    "PartitionsRejected": [
        (
            lambda: errors.PartitionsRejected("g", {"mon": ["late", "few"], "tue": ["no"]}, 5),
            "2 partition.* of 'g' .*; 5 good .*again:\n  mon: late; few\n  tue: no$",
        ),
        (
            lambda: errors.PartitionsRejected("g", {str(n): ["no"] for n in range(25)}, 0),
            "25 partition(.|\n)*and 5 more$",
        ),
    ],
    "StillRejected": [
        (
            lambda: errors.StillRejected("g", "mon", ["x: 1 row.", "y: 2 rows."]),
            "'mon' of 'g' was not released.* still: x: 1 row.; y: 2 rows. Correct the source",
        )
    ],
    "TrainingSetChanged": [
        (
            lambda: errors.TrainingSetChanged("t", ["a.parquet is missing", "b has other content"]),
            "'t' is not what was written: a.parquet is missing, b has other content. Restore it",
        )
    ],
    "NotReproduced": [
        (
            lambda: errors.NotReproduced("t", ["x", "y"], ["numpy 2.0 -> 2.1", "m:f"]),
            "'t' again gave other values of 'x', 'y'. Since then changed: numpy 2.0 -> 2.1; m:f.$",
        ),
        (lambda: errors.NotReproduced("t", ["x"], []), "other values of 'x'.$"),
    ],
    "FunctionFailed": [
        (
            lambda: errors.FunctionFailed("near", "m:near", "raised KeyError"),
            "'near' cannot be computed: 'm:near' raised KeyError.$",
        )
    ],
    "FunctionNotTrusted": [
        (
            lambda: errors.FunctionNotTrusted("near", "a.b:near"),
            "'near' cannot be computed: 'a.b:near' came from .*not run here.*=a.b.$",
        )
    ],
    "CodeNotTrusted": [
        (
            lambda: errors.CodeNotTrusted(["m:f", "n:g"]),
            r"no code was run.*does not know:\n  m:f\n  n:g\nA read .*--trust-code",
        ),
        (lambda: errors.CodeNotTrusted(["m:f"] * 103), "and 3 more"),
    ],
    "HoldNotFound": [
        (
            lambda: errors.HoldNotFound("group", "a", []),
            "There is no hold on group 'a'. No group is held.$",
        ),
        (lambda: errors.HoldNotFound("group", "a", ["ab"]), "Did you mean 'ab'"),
    ],
    "BackupNotFound": [
        (lambda: errors.BackupNotFound("/b", None, []), "There is no backup in '/b'.$"),
        (
            lambda: errors.BackupNotFound("/b", "x", ["2023", "2024"]),
            "No backup in '/b' is named 'x'. The newest: 2024.$",
        ),
    ],
    "OutsideRetention": [
        (
            lambda: errors.OutsideRetention("g", "Partition p", NOON, ["s"]),
            "Partition p of 'g' is outside retention. .* from 2024-.* more of it: 's'; read",
        ),
        (
            lambda: errors.OutsideRetention("g", "Partition p", None, []),
            "outside retention. No snapshot .* Materialize or write the rows again",
        ),
    ],
    "FeatureNeeded": [
        (
            lambda: errors.FeatureNeeded("g.x", "v"),
            "'g.x' was not dropped: view 'v' names it. Apply the view without it first.$",
        ),
        (
            lambda: errors.FeatureNeeded("g.x"),
            "only drafts and retired features can go. .*`feature-store stage g.x retired`.$",
        ),
    ],
    "SnapshotNeeded": [
        (
            lambda: errors.SnapshotNeeded("s", ["model 'm'", "model 'n'"]),
            "Snapshot 's' is needed by model 'm'; model 'n'. It stays.$",
        )
    ],
    "SnapshotDamaged": [
        (
            lambda: errors.SnapshotDamaged("s", [f"{n} is gone" for n in range(7)]),
            "'s' is not what was pinned: 0 is gone; .*; and 2 more. Restore these files",
        )
    ],
    "ArchiveConflict": [
        (
            lambda: errors.ArchiveConflict({"a v1": ["1", "2"], "b v2": ["3"]}),
            r"left alone:\n  a v1: 1, 2\n  b v2: 3\nImport with on_conflict=",
        ),
        (lambda: errors.ArchiveConflict({"a v1": list("x" * 23)}), "x, x and 3 more"),
    ],
    "GroupHeld": [
        (
            lambda: errors.GroupHeld("a", "case 7"),
            r"rows of 'a' stay as they are, .*hold is on it \(case 7\)\. Lift the hold",
        )
    ],
    "BackupRefused": [
        (
            lambda: errors.BackupRefused("/b", "a table is gone", "Restore."),
            "in '/b': a table is gone. Restore. Nothing was written or removed.$",
        )
    ],
    "RestoreRefused": [
        (
            lambda: errors.RestoreRefused("'/d'", "is not empty"),
            "^'/d' is not empty: .*FEATURE_STORE_STORAGE_PATH, .*Nothing was changed.$",
        )
    ],
    "BackupUnusable": [
        (
            lambda: errors.BackupUnusable("/b", [f"{n} is gone" for n in range(7)]),
            r"The backup in '/b' cannot be used: 0 is gone; .*; and 2 more\. Take another",
        )
    ],
    "ArchiveUnusable": [
        (
            lambda: errors.ArchiveUnusable("june", [f"{n} is missing" for n in range(7)]),
            r"'june' cannot be imported: 0 is .*; and 2 more\. Take a sound copy .* was written\.$",
        ),
        (lambda: errors.ArchiveUnusable("june", ["Too new"], "Upgrade."), "Too new. Upgrade. Noth"),
    ],
    "StoreUnavailable": [(lambda: errors.StoreUnavailable("Away."), "Away.")],
    "OnlineStoreUnavailable": [
        (
            lambda: errors.OnlineStoreUnavailable("redis://:***@h", "refused"),
            r"redis://:\*\*\*@h does not answer \(refused\). .*FEATURE_STORE_ONLINE_STORE_URI",
        )
    ],
    "LocationUnusable": [
        (lambda: errors.LocationUnusable("/d", "No space left"), "'/d' cannot be used: No space le")
    ],
    "StorageUnusable": [
        (lambda: errors.StorageUnusable("/d", "full", "Go."), "'/d' cannot .*: full. Go."),
        (lambda: errors.StorageUnusable("/d", "full"), "'/d' cannot hold the store: full.$"),
    ],
    "RegistryUnusable": [
        (lambda: errors.RegistryUnusable("sqlite://", "gone", "Go."), "at sqlite:// .*: gone. Go.")
    ],
}
CASES = [
    pytest.param(make, message, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number, (make, message) in enumerate(examples)
]


def classes() -> dict[str, type[FeatureStoreError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, FeatureStoreError)
    }


def test_every_error_has_an_example_here() -> None:
    assert EXAMPLES.keys() == classes().keys()
    for name, examples in EXAMPLES.items():
        assert {type(make()).__name__ for make, _ in examples} == {name}


@pytest.mark.parametrize(("make", "message"), CASES)
def test_an_error_says_what_was_asked_what_exists_and_what_to_do(
    make: Callable[[], FeatureStoreError], message: str
) -> None:
    error = make()
    assert re.search(message, str(error))
    assert error.args == (str(error),)
    assert error.__doc__


@pytest.mark.parametrize(("make", "message"), CASES)
def test_an_error_comes_out_of_a_pickle_as_it_went_in(
    make: Callable[[], FeatureStoreError], message: str
) -> None:
    error = make()
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), back.args) == (str(error), error.args)


def drawn() -> dict[str, tuple[str, set[str]]]:
    """The tree of the module's docstring: class -> (parent, builtins named beside it)."""
    assert errors.__doc__ is not None
    parents = {-1: ""}
    found: dict[str, tuple[str, set[str]]] = {}
    for line in errors.__doc__.splitlines():
        if not re.match(r"[│ ]*[├└]──|FeatureStoreError$", line):
            continue
        depth = len(line) - len(line.lstrip("│├└─ "))
        names = re.match(
            r"((?:\w+(?:  )?)+)(?:\((\w+)\))?", line.lstrip("│├└─ ").replace(" (", "(")
        )
        assert names is not None
        parent = parents[max(level for level in parents if level < depth)]
        for name in re.findall(r"[A-Z]\w+", names[1]):
            found[name] = (parent, {names[2]} if names[2] else set())
            parents = {level: kept for level, kept in parents.items() if level < depth}
            parents[depth] = name
    return found


def test_the_tree_in_the_docstring_is_the_tree_that_exists() -> None:
    builtin = {
        name: {base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"}
        - {"Exception"}
        for name, kind in classes().items()
    }
    tree = {
        name: (
            next((base.__name__ for base in kind.__bases__ if base.__name__ in classes()), ""),
            builtin[name],
        )
        for name, kind in classes().items()
    }
    assert drawn() == tree


@pytest.mark.parametrize("kind", classes().values())
def test_an_error_is_caught_by_its_builtin_too(kind: type[FeatureStoreError]) -> None:
    builtins = (KeyError, ValueError, TypeError, RuntimeError, OSError, ImportError)
    assert kind is FeatureStoreError or issubclass(kind, builtins)


def test_a_suggestion_is_the_nearest_name_else_all_else_nothing() -> None:
    assert suggestion("spend", ["spend_7d", "orders"]) == " Did you mean 'spend_7d'?"
    assert suggestion("zzz", ["b", "a"]) == " There are: 'a', 'b'."
    assert suggestion("zzz", []) == ""
    many = [f"feature_{number:02}" for number in range(20)]
    assert suggestion("zzz", many).endswith("'feature_11' and 8 more.")
