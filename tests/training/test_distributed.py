import json

import pytest
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_rows, write_tsv

from fastbert import cli
from fastbert.runtime.errors import UsageError
from fastbert.training.distributed import is_first_process, require_whole_environment

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
ALONE = {**WHOLE, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        (WHOLE, False),
        ({**WHOLE, "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, True),
        ({**WHOLE, "LOCAL_WORLD_SIZE": "2"}, False),
        ({**WHOLE, "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, False),
        (ALONE, True),
        ({**ALONE, "LOCAL_WORLD_SIZE": "1"}, True),
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LANG": "C"}, True),
        (MPI, True),  # accelerate sets RANK later
    ],
)
def test_a_complete_or_empty_environment_is_not_changed(environment, first):
    given = dict(environment)
    require_whole_environment(given)
    assert given == environment
    assert is_first_process(given) == first


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0"},
        {"WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"LOCAL_RANK": "0"},
        {"LOCAL_RANK": "-1"},
        {"RANK": "0", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"RANK": " 0 ", "WORLD_SIZE": "01"},
        {**ALONE, "MASTER_PORT": "x"},
        {**ALONE, "MASTER_PORT": ""},
        {**ALONE, "MASTER_ADDR": ""},
        {**ALONE, "LOCAL_RANK": "-1"},
        {**ALONE, "LOCAL_WORLD_SIZE": "0"},
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "PMI_RANK": "1", "PMI_SIZE": "2"},
    ],
)
def test_a_single_process_in_an_incomplete_environment_trains_alone(environment):
    given = dict(environment)
    require_whole_environment(given)
    assert not {"LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE"} & set(given)  # what accelerate would follow
    assert is_first_process(given)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK='1'.*WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"),
        ({"RANK": "-1"}, "are not set"),
        ({"LOCAL_RANK": "1"}, "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are not set"),
        ({"LOCAL_RANK": "-2"}, "are not set"),
        ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"),
        *(
            ({name: value for name, value in WHOLE.items() if name != missing}, f"{missing} is not set")
            for missing in WHOLE
        ),
        *(
            ({name: value}, f"{name} is not a whole number")
            for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK")
            for value in ("", " ", "x", "1.0", "0x1", "1 2", "None", "9" * 5000)
        ),
        ({"RANK": "", "WORLD_SIZE": ""}, "RANK and WORLD_SIZE are not whole numbers"),
        ({**WHOLE, "LOCAL_RANK": "x"}, "LOCAL_RANK is not a whole number"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK must be from 0 to 0"),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, "LOCAL_RANK must be from 0 to 0"),
        ({**WHOLE, "RANK": "2"}, "RANK must be from 0 to 1"),
        ({**WHOLE, "RANK": "-1"}, "RANK must be from 0 to 1"),
        ({**WHOLE, "LOCAL_RANK": "2"}, "LOCAL_RANK must be from 0 to 1"),
        ({**WHOLE, "LOCAL_RANK": "-1"}, "LOCAL_RANK must be from 0 to 1"),
        ({**WHOLE, "WORLD_SIZE": "0"}, "WORLD_SIZE must be at least 1"),
        ({**WHOLE, "WORLD_SIZE": "-3"}, "WORLD_SIZE must be at least 1"),
        ({**WHOLE, "MASTER_ADDR": ""}, "MASTER_ADDR is empty"),
        ({**WHOLE, "MASTER_PORT": ""}, "MASTER_PORT must be from 1 to 65535"),
        ({**WHOLE, "MASTER_PORT": "0"}, "MASTER_PORT must be from 1 to 65535"),
        ({**WHOLE, "MASTER_PORT": "65536"}, "MASTER_PORT must be from 1 to 65535"),
        ({**WHOLE, "MASTER_PORT": "http"}, "MASTER_PORT must be from 1 to 65535"),
        ({**WHOLE, "LOCAL_WORLD_SIZE": "1"}, "LOCAL_WORLD_SIZE must be from 2 to 2"),
        ({**WHOLE, "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE must be from 2 to 2"),
        ({**WHOLE, "LOCAL_WORLD_SIZE": ""}, "LOCAL_WORLD_SIZE must be from 2 to 2"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"),
        ({name: value for name, value in MPI.items() if name != "MASTER_ADDR"}, "MASTER_ADDR is not set"),
    ],
)
def test_an_incomplete_environment_is_refused(environment, message):
    given = dict(environment)
    with pytest.raises(UsageError, match=message) as raised:
        require_whole_environment(given)
    assert given == environment
    assert "accelerate launch -m fastbert.cli train" in str(raised.value)
    names = str(raised.value).rpartition("unset ")[2].split()
    assert set(names) == set(environment)
    assert len(str(raised.value)) < 700


NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE", "PMI_SIZE", "PMI_RANK")


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.sampled_from(["0", "1", "2", "-1", "", "x"]) | st.text(" 01x-", max_size=3)
    )
)
def test_any_environment_is_complete_alone_or_refused(environment):
    try:
        require_whole_environment(environment)
    except UsageError:
        return
    is_first_process(environment)
    assert int(environment.get("LOCAL_RANK", -1)) == -1 or {*NAMES[:2], *NAMES[3:5]} <= {
        *environment,
        "RANK",
        "WORLD_SIZE",
    }


def set_environment(monkeypatch, environment):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_train_refuses_before_anything_is_loaded(run_cli, monkeypatch, tmp_path):
    set_environment(monkeypatch, {"RANK": "1"})
    monkeypatch.setattr(cli, "_quiet_transformers", lambda: pytest.fail("work began"))
    code, out, err = run_cli("train", "nowhere", "--train", "x.tsv", "--output", tmp_path / "model")
    assert (code, out) == (2, "")
    assert err.startswith("Error: The environment says") and err.count("\n") == 1


@pytest.fixture
def fresh_accelerate():
    """Let accelerate, which reads the environment once per process, read it again."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


QUICK = ["--epochs", "1", "--distill-epochs", "1", "--max-length", "16", "--exit-size", "16"]


def test_a_single_process_trains_and_prints_its_report(run_cli, monkeypatch, tmp_path, fresh_accelerate):
    from support.factories import save_backbone

    save_backbone(tmp_path / "backbone")
    data = write_tsv(tmp_path / "train.tsv", make_rows(16, seed=1))
    set_environment(monkeypatch, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"})
    code, out, _ = run_cli(
        "train", tmp_path / "backbone", "--train", data, "--output", tmp_path / "model", *QUICK, "--json"
    )
    assert code == 0
    assert json.loads(out)["train_rows"] == 15


@pytest.mark.parametrize("environment", [{"RANK": "1", "LOCAL_RANK": "x", "WORLD_SIZE": ""}, WHOLE])
def test_other_commands_ignore_the_environment(run_cli, monkeypatch, bundle, checkpoint_dir, tmp_path, environment):
    set_environment(monkeypatch, environment)
    data = write_tsv(tmp_path / "data.tsv", make_rows(4))
    for arguments in (
        ("predict", bundle, "good"),
        ("info", bundle),
        ("evaluate", bundle, "--data", data),
        ("evaluate", checkpoint_dir, "--data", data),
        ("export", checkpoint_dir, "--output", tmp_path / "bundle"),
        ("verify", bundle),
    ):
        code, out, err = run_cli(*arguments)
        assert (code, bool(out)) == (0, True), err
