import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastbert.files import atomic, disk, places
from fastbert.files.atomic import (
    replace_directory,
    replace_file,
    require_writable,
    require_writable_file,
)
from fastbert.files.claims import hidden_name
from fastbert.files.places import work_directory
from fastbert.runtime.errors import OutputExistsError, UsageError


def write(directory, text, **arguments):
    with replace_directory(directory, kind="manifest.json", **arguments) as partial:
        (partial / "file").write_text(text)
        (partial / "manifest.json").write_text("{}")


@pytest.fixture(params=["exchange", "two renames"])
def output(request, tmp_path, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    return tmp_path / "out"


def test_writes_replaces_and_leaves_nothing_else(output):
    write(output, "old", overwrite=False)
    write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "new"
    assert os.listdir(output.parent) == ["out"]


def test_an_error_keeps_the_old(output):
    write(output, "old", overwrite=False)
    with pytest.raises(RuntimeError), replace_directory(output, overwrite=True, kind="manifest.json") as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert (output / "file").read_text() == "old"
    assert os.listdir(output.parent) == ["out"]


def test_refuses_what_exists(output):
    write(output, "old", overwrite=False)
    with pytest.raises(OutputExistsError, match="replace it with `overwrite`"):
        write(output, "new", overwrite=False)
    (output.parent / "plain").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file"):
        write(output.parent / "plain", "new", overwrite=True)
    assert (output.parent / "plain").read_text() == "mine"


def test_overwrite_replaces_only_its_own_kind_or_an_empty_directory(output):
    output.mkdir()
    write(output, "first", overwrite=True)
    (output / "manifest.json").unlink()
    with pytest.raises(OutputExistsError, match="no manifest.json, so `overwrite` would destroy"):
        write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "first"


def test_a_link_is_replaced_and_its_target_stays(output):
    target = output.with_name("target")
    write(target, "old", overwrite=False)
    output.symlink_to(target)
    write(output, "new", overwrite=True)
    assert ((target / "file").read_text(), (output / "file").read_text()) == ("old", "new")
    assert sorted(os.listdir(output.parent)) == ["out", "target"]


OURS = ("file", "old", "manifest.json")


def test_a_directory_with_files_of_the_user_is_filled_in_place(output):
    write(output, "old", overwrite=False)
    (output / "old").write_text("of an earlier version")
    (output / "notes.txt").write_text("mine")
    inode = output.stat().st_ino
    write(output, "new", overwrite=True, ours=OURS)
    assert (output / "file").read_text() == "new"
    assert sorted(os.listdir(output)) == ["file", "manifest.json", "notes.txt"]
    assert output.stat().st_ino == inode
    assert os.listdir(output.parent) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_working_directory_is_filled_and_stays_the_same_directory(tmp_path, monkeypatch, overwrite):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("."), "new", overwrite=overwrite)
    assert sorted(os.listdir(".")) == ["file", "manifest.json"]
    with pytest.raises(OutputExistsError, match="replace it with `overwrite`"):
        write(Path("."), "newer", overwrite=False)
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.parametrize("error", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_a_directory_that_cannot_be_renamed_is_filled(output, monkeypatch, error):
    """EBUSY: a mount point. EXDEV: a directory of an image. EPERM: another user's, in a sticky directory."""
    write(output, "old", overwrite=False)
    rename, stuck = Path.rename, output

    def refusing(self, target):
        if self == stuck:
            raise OSError(error, "refused")
        return rename(self, target)

    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", refusing)
    write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "new"
    assert os.listdir(output.parent) == ["out"]


def test_a_directory_of_an_image_is_moved_file_by_file(tmp_path, monkeypatch):
    rename = Path.rename

    def refusing(self, target):
        if self.is_dir():
            raise OSError(errno.EXDEV, "refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("text")
    atomic._move(tmp_path / "a", tmp_path / "d")
    assert (tmp_path / "d/b/c").read_text() == "text"
    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("failing", range(4))
def test_an_error_while_filling_undoes_every_step(output, monkeypatch, failing):
    write(output, "old", overwrite=False)
    (output / "notes.txt").write_text("mine")
    move, calls = atomic._move, []

    def breaking(source, target):
        calls.append(source)
        if len(calls) == failing + 1:
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(atomic, "_move", breaking)
    with pytest.raises(KeyboardInterrupt):
        write(output, "new", overwrite=True)
    assert {path.name: path.read_text() for path in output.iterdir()} == {
        "file": "old",
        "manifest.json": "{}",
        "notes.txt": "mine",
    }
    assert os.listdir(output.parent) == ["out"]


def test_the_marker_file_is_removed_first_and_written_last(output, monkeypatch):
    write(output, "old", overwrite=False)
    (output / "notes.txt").write_text("mine")
    moved, move = [], atomic._move

    def watched(source, target):
        moved.append(source.name)
        move(source, target)

    monkeypatch.setattr(atomic, "_move", watched)
    write(output, "new", overwrite=True)
    assert moved == ["manifest.json", "file", "file", "manifest.json"]


def test_an_output_that_a_killed_writer_half_filled_may_be_filled_again(output):
    output.mkdir()
    (output / "file").write_text("half")
    aside = output.with_name(hidden_name("out", "replaced"))
    aside.mkdir()
    (aside / "manifest.json").write_text("{}")
    with pytest.raises(OutputExistsError, match="replace it with `overwrite`"):
        write(output, "new", overwrite=False)
    write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "new"
    assert os.listdir(output.parent) == ["out"]


@pytest.mark.parametrize("where", ["a mount point", "an unwritable parent"])
def test_hidden_directories_are_inside_where_they_cannot_be_beside(tmp_path, monkeypatch, where):
    output = tmp_path / "volume"
    (output / "lost+found").mkdir(parents=True)
    if where == "a mount point":
        monkeypatch.setattr(places, "is_mount", lambda path: path == output)
    else:
        monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    assert work_directory(output) == output / ".training"
    for text in ("first", "second"):
        with replace_directory(output, overwrite=True, kind="manifest.json", ours=OURS) as partial:
            assert partial.parent == output
            assert os.listdir(tmp_path) == ["volume"]
            (partial / "file").write_text(text)
            (partial / "manifest.json").write_text("{}")
        assert (output / "file").read_text() == text
        assert sorted(os.listdir(output)) == ["file", "lost+found", "manifest.json"]


def test_an_empty_mount_point_needs_no_overwrite(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "is_mount", lambda path: True)
    write(tmp_path, "new", overwrite=False)
    assert sorted(os.listdir(tmp_path)) == ["file", "manifest.json"]
    with pytest.raises(OutputExistsError):
        write(tmp_path, "newer", overwrite=False)


def test_a_mount_of_the_same_file_system_is_recognised(tmp_path):
    """os.path.ismount misses it. Needs the right to mount, in a new namespace."""
    (tmp_path / "a b\\").mkdir()
    script = (
        "mount --bind . 'a b\\' && "
        f'{sys.executable} -c "from fastbert.files.places import is_mount as m; from pathlib import Path as P\n'
        "print(m(P('a b' + chr(92))), m(P('.')))\""
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr}")
    assert done.stdout == "True False\n"


def test_work_is_beside_an_ordinary_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert work_directory(Path("model")) == work_directory(tmp_path / "model") == tmp_path / "model.training"
    assert work_directory(Path(".")) == tmp_path.with_name(tmp_path.name + ".training")
    with pytest.raises(UsageError, match="too long"):
        work_directory(tmp_path / ("x" * 250))


@pytest.mark.parametrize(
    ("name", "overwrite", "error", "message"),
    [
        ("file/out", False, UsageError, "cannot be written: Not a directory"),
        ("file/a/b", False, UsageError, "cannot be written: Not a directory"),
        ("x" * 256, False, UsageError, "File name too long"),
        ("x/" * 3000, False, UsageError, "File name too long"),
        ("b\udcff", False, UsageError, "not UTF-8"),
        ("dangling", False, OutputExistsError, "`overwrite`"),
        ("loop", False, OutputExistsError, "`overwrite`"),
        ("file", True, OutputExistsError, "is a file"),
        ("to_file", True, OutputExistsError, "is a file"),
        ("full", True, OutputExistsError, "no manifest.json"),
        ("to_full", True, OutputExistsError, "no manifest.json"),
        ("/", True, OutputExistsError, "no manifest.json"),
        ("/proc/out", False, UsageError, "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, name, overwrite, error, message):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    for link, target in (("dangling", "nowhere"), ("loop", "loop"), ("to_file", "file"), ("to_full", "full")):
        (tmp_path / link).symlink_to(target)
    before = sorted(map(str, tmp_path.rglob("*")))
    with pytest.raises(error, match=message):
        require_writable(tmp_path / name, overwrite=overwrite, kind="manifest.json")
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_a_directory_without_write_permission_is_refused_before_the_work(tmp_path, monkeypatch):
    def denied(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    for output in (tmp_path / "out", tmp_path / "a/b/out"):
        with pytest.raises(UsageError, match=r"out cannot be written: Permission denied \(.*\)\. Choose"):
            require_writable(output, overwrite=False, kind="manifest.json")


@pytest.mark.parametrize("name", ["out", "[br*ck]?", " a b", "new\nline", "日" * 85, "x" * 255, "a.b", "-x"])
def test_outputs_of_any_name_are_written_and_replaced(tmp_path, name):
    for text in ("old", "new"):
        write(tmp_path / name, text, overwrite=text == "new")
    assert (tmp_path / name / "file").read_text() == "new"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_a_link_that_leads_nowhere_is_replaced(tmp_path, target):
    (tmp_path / "loop").symlink_to(target)
    write(tmp_path / "loop", "new", overwrite=True)
    assert (tmp_path / "loop/file").read_text() == "new"
    assert os.listdir(tmp_path) == ["loop"]


def test_a_link_to_an_empty_directory_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/file").read_text() == "new"


def test_an_error_removes_the_parents_that_were_made(tmp_path):
    with (
        pytest.raises(RuntimeError),
        replace_directory(tmp_path / "a/b/c", overwrite=False, kind="manifest.json"),
    ):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_slower_writer_does_not_replace_a_faster_one(output):
    with (
        pytest.raises(OutputExistsError),
        replace_directory(output, overwrite=False, kind="manifest.json") as partial,
    ):
        (partial / "file").write_text("slow")
        write(output, "fast", overwrite=False)
    assert (output / "file").read_text() == "fast"
    assert os.listdir(output.parent) == ["out"]


def test_many_writers_of_one_output_leave_one_whole_directory(output):
    (output.parent / "out").mkdir()
    (output / "notes.txt").write_text("mine")
    (output / "manifest.json").write_text("{}")

    def one(number):
        with replace_directory(output, overwrite=True, kind="manifest.json", ours=("part*",)) as partial:
            for part in range(5):
                (partial / f"part{part}").write_text(str(number))
            (partial / "manifest.json").write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(24)))
    assert len({path.read_text() for path in output.iterdir() if path.name != "notes.txt"}) == 1
    assert len(os.listdir(output)) == 7
    assert os.listdir(output.parent) == ["out"]


class _LibraryError(Exception):
    """An error that is not an OSError, as safetensors and torch raise."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        _LibraryError("I/O error: No space left on device (os error 28)"),
        _LibraryError("Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_named_and_the_old_output_stays(output, error):
    write(output, "old", overwrite=False)
    with pytest.raises(OSError) as raised, replace_directory(output, overwrite=True, kind="manifest.json") as partial:
        (partial / "file").write_text("half")
        raise error
    assert raised.value.filename == str(output)
    assert raised.value.errno in (errno.ENOSPC, errno.EDQUOT)
    assert (output / "file").read_text() == "old"
    assert os.listdir(output.parent) == ["out"]


def test_an_error_without_a_reason_on_a_full_disk_is_named(output, monkeypatch):
    monkeypatch.setattr(disk, "_free_bytes", lambda _: 0)
    with pytest.raises(OSError, match="No space"), disk.full_disk_named(output.parent, output):
        raise _LibraryError("PytorchStreamWriter failed writing file data.pkl: file write failed")
    with pytest.raises(OutputExistsError), disk.full_disk_named(output.parent, output):
        raise OutputExistsError("ours")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.json"
    replace_file(path, b"old")

    def full(self, _):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as raised:
        replace_file(path, b"new")
    assert raised.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["report.json"]


def test_a_file_that_is_a_mount_is_overwritten(tmp_path, monkeypatch):
    def busy(self, target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    replace_file(tmp_path / "report.json", b"old")
    monkeypatch.setattr(Path, "replace", busy)
    replace_file(tmp_path / "report.json", b"new")
    assert (tmp_path / "report.json").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file/x.json", "x" * 256, ".", "/proc/x.json"):
        with pytest.raises(UsageError, match="cannot be written"):
            require_writable_file(tmp_path / name)
    require_writable_file(tmp_path / "a/b/x.json")
    assert os.listdir(tmp_path) == ["file"]


def test_an_output_that_another_writer_replaces_between_two_looks_is_looked_at_again(output, monkeypatch):
    real = atomic._why_not_replaceable

    def while_another_writes(*arguments, **options):
        monkeypatch.setattr(atomic, "_why_not_replaceable", real)
        output.rename(output.parent / "old")
        problem = real(*arguments, **options)  # it is not there now
        output.mkdir()
        (output / "manifest.json").write_text("{}")
        return problem

    output.mkdir()
    (output / "manifest.json").write_text("{}")
    monkeypatch.setattr(atomic, "_why_not_replaceable", while_another_writes)
    atomic.require_writable(output, overwrite=True, kind="manifest.json")
