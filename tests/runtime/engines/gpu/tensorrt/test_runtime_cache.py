"""The files of the runtime cache: which, when they are written, and how much they may take."""

import gc
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastbert.runtime.engines.gpu.tensorrt import runtime_cache
from fastbert.runtime.engines.gpu.tensorrt.runtime_cache import RuntimeCache, cache_path, default_folder


class FakeCache:
    def __init__(self, content=b"compiled"):
        self.content = content

    def serialize(self):
        return self.content

    def deserialize(self, blob):
        self.content = blob
        return blob.startswith(b"compiled")


class FakeConfig:
    def __init__(self, cache):
        self.cache = cache

    def create_runtime_cache(self):
        return self.cache

    def set_runtime_cache(self, cache):
        return True


def attached(path, content=b"compiled"):
    made, cache = RuntimeCache(path), FakeCache(content)
    made.attach(FakeConfig(cache))
    return made, cache


def run_timers(made):
    """Note something new, and wait until it was written."""
    before = set(threading.enumerate())
    made.expect_more()
    for timer in set(threading.enumerate()) - before:
        timer.join(10)


def find(folder, engines=("a", "b"), version="1.7.1", gpu="RTX 8.9"):
    return cache_path(folder, engines=engines, version=version, gpu=gpu)


def test_a_file_is_for_its_engines_version_and_gpu(tmp_path):
    others = [{"engines": ("a", "c")}, {"version": "1.7.2"}, {"gpu": "RTX 12.0"}]
    assert len({find(tmp_path), *(find(tmp_path, **other) for other in others)}) == 4
    assert find(tmp_path) == find(tmp_path)
    assert find(tmp_path).name.startswith("1.7.1-RTX-8.9-")
    assert find(False) is None


def test_the_default_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime_cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "fastbert" / "tensorrt-rtx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert default_folder() == tmp_path / "home" / ".cache" / "fastbert" / "tensorrt-rtx"
    monkeypatch.setattr(runtime_cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == tmp_path / "local" / "fastbert" / "tensorrt-rtx"


def test_a_user_without_a_home_gets_a_warning(monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with caplog.at_level(logging.WARNING):
        assert find(None) is None
    assert "Could not determine home directory" in caplog.text


def test_the_file_is_written_some_time_after_something_new_ran(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_cache, "_SETTLE_S", 0.01)
    made, cache = attached(tmp_path / "a.cache")
    run_timers(made)
    assert (tmp_path / "a.cache").read_bytes() == b"compiled"
    cache.content = b"compiled more"
    run_timers(made)
    assert (tmp_path / "a.cache").read_bytes() == b"compiled more"


def test_many_new_shapes_at_once_are_one_write(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runtime_cache.threading.Timer, "start", lambda self: started.append(self))
    made, _ = attached(tmp_path / "a.cache")
    for _ in range(100):
        made.expect_more()
    assert len(started) == 1


def test_a_cache_that_was_collected_is_not_written_again(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runtime_cache.threading.Timer, "start", lambda self: started.append(self))
    made, _ = attached(tmp_path / "a.cache")
    made.expect_more()
    del made
    gc.collect()
    (tmp_path / "a.cache").unlink()
    started[0].function(*started[0].args)
    assert not (tmp_path / "a.cache").exists()


def test_a_cache_that_the_library_cannot_serialize_is_not_written(tmp_path):
    path = tmp_path / "x.cache"
    cache = RuntimeCache(path)
    cache._file._cache = SimpleNamespace(serialize=lambda: None)
    cache._file.save()
    assert not path.exists()


def test_an_unchanged_cache_is_not_written(tmp_path):
    path = tmp_path / "a.cache"
    path.write_bytes(b"compiled")
    os.utime(path, (1, 1))
    made, _ = attached(path, b"")
    assert path.stat().st_mtime > 1  # it was used
    os.utime(path, (1, 1))
    del made
    gc.collect()
    assert path.stat().st_mtime == 1


def test_a_disk_that_is_full_is_one_warning_and_leaves_no_part(tmp_path, monkeypatch, caplog):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    made, cache = attached(tmp_path / "a.cache")
    with caplog.at_level(logging.WARNING):
        made._file.save()
        cache.content = b"compiled more"
        made._file.save()
    assert caplog.text.count("No space left on device") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [250, 1000])
def test_the_least_recently_used_files_are_removed(tmp_path, monkeypatch, most):
    monkeypatch.setattr(runtime_cache, "MOST_BYTES", most)
    for age, name in enumerate(("newer", "older", "oldest")):
        (tmp_path / f"{name}.cache").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"{name}.cache", (1000 - age, 1000 - age))
    (tmp_path / "of others").write_bytes(b"x" * 1000)
    made, _ = attached(tmp_path / "new.cache", b"y" * 100)
    del made
    gc.collect()
    kept = {path.stem for path in tmp_path.glob("*.cache")}
    assert kept == ({"new", "newer"} if most == 250 else {"new", "newer", "older", "oldest"})
    assert (tmp_path / "of others").exists()
