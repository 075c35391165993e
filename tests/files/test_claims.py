import os
import signal
import subprocess
import sys

import pytest

from fastbert.files import claims
from fastbert.files.atomic import replace_directory
from fastbert.files.claims import Claim, hidden_name, new_claimed_directory, remove_dead

WRITER = """
import sys, time
from pathlib import Path
from fastbert.files.atomic import replace_directory
with replace_directory(Path(sys.argv[1]), overwrite=True, kind="k") as partial:
    (partial / "k").write_text("theirs")
    print(partial, flush=True)
    time.sleep(60)
"""


def write(output):
    with replace_directory(output, overwrite=True, kind="k") as partial:
        (partial / "k").write_text("ours")


@pytest.fixture
def writer(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_the_work_of_a_live_writer_stays_and_of_a_killed_one_is_removed(writer, tmp_path):
    theirs = writer.stdout.readline().strip()
    write(tmp_path / "out")
    assert os.listdir(theirs) == ["k"]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert os.path.isdir(theirs)
    write(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_a_live_writer_of_another_pid_namespace_keeps_its_work(tmp_path):
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", WRITER, str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    theirs = process.stdout.readline().strip()
    try:
        if not theirs:
            pytest.skip(f"no namespaces here: {process.communicate()[1]}")
        write(tmp_path / "out")
        assert os.listdir(theirs) == ["k"]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    "name",
    [
        ".out.partial-1",  # of an earlier version, whose process may live in another container
        ".out.partial-999999999",
        ".out.partial-0123456789ab-01234567",  # of another machine on a shared volume, or of this one's last boot
        ".other.partial-{boot}-01234567",
        ".out.partial",
    ],
)
def test_doubtful_directories_stay_and_are_not_in_the_way(tmp_path, name):
    left = tmp_path / name.format(boot=claims._boot_id())
    left.mkdir()
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([left.name, "out"])


def test_only_directories_are_removed_and_no_link_is_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    link, file = (tmp_path / hidden_name("out", "partial") for _ in range(2))
    link.symlink_to("mine")
    file.write_text("mine")
    remove_dead(tmp_path, "out", "partial")
    assert (link / "file").read_text() == file.read_text() == "mine"


def test_nothing_is_removed_without_locks(tmp_path, monkeypatch):
    left = tmp_path / hidden_name("out", "partial")
    left.mkdir()

    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(claims.fcntl, "flock", unsupported)
    write(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([left.name, "out"])


def test_nothing_is_removed_without_a_boot_id(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_boot_id", lambda: "")
    left = tmp_path / hidden_name("out", "partial")
    left.mkdir()
    remove_dead(tmp_path, "out", "partial")
    assert left.is_dir()


def test_a_parent_that_cannot_be_read_is_ignored(tmp_path):
    remove_dead(tmp_path / "nowhere", "out", "partial")


def test_a_hidden_name_fits_whatever_the_output_is_called(tmp_path):
    for name in ("x" * 255, "日" * 85, ""):
        directory, claim = new_claimed_directory(tmp_path, name)
        assert directory.is_dir()
        claim.release()


def test_only_one_holds_a_claim(tmp_path):
    claim = Claim(tmp_path)
    assert claim.locked
    with pytest.raises(BlockingIOError):
        Claim(tmp_path)
    claim.release()
    Claim(tmp_path).release()


def test_a_lock_of_another_program_is_not_waited_for_forever(tmp_path):
    claim = Claim(tmp_path)
    with claims.claimed_in_turn(tmp_path, timeout_s=0.05):
        pass
    claim.release()
