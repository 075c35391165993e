import os
import subprocess
import sys

import pytest

FORK = """
import os, sys, time
from fastbert.runtime import Classifier
classifier = Classifier.load(sys.argv[1], threads=1)
classifier.predict(["good", "bad"])
child = os.fork()
if child == 0:
    classifier.predict(["good", "bad"])
    sys.exit(7)
for _ in range(1000):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.01)
os.kill(child, 9)
sys.exit("the child hangs")
"""


def run(script, bundle, home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_", "TOKENIZERS_"))}
    return subprocess.run(
        [sys.executable, "-c", script, bundle], capture_output=True, text=True, env=kept | {"HOME": str(home)}
    )


def test_nothing_is_written_and_a_forked_child_ends(bundle, tmp_path):
    done = run(FORK, bundle, tmp_path)
    assert (done.returncode, done.stderr) == (7, "")
    assert list(tmp_path.rglob("*")) == []


def test_a_home_that_cannot_be_written_is_harmless(bundle):
    done = run(FORK, bundle, "/proc/1/nowhere")
    assert (done.returncode, done.stderr, done.stdout) == (7, "", "")


def test_a_host_that_imported_onnxruntime_first_is_warned_once(bundle, tmp_path):
    script = (
        "import sys, onnxruntime\n"
        "from fastbert.runtime import Classifier\n"
        "for _ in range(2): Classifier.load(sys.argv[1], threads=1)"
    )
    told = run(script, bundle, tmp_path).stderr
    assert told.count("ORT_DISABLE_TELEMETRY=1") == 1
    assert "imported before fastbert" in told


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environments_setting_is_kept(value, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
    script = "import fastbert, os; print(os.environ['ORT_DISABLE_TELEMETRY'], fastbert.telemetry_came_first)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [value, "False"]
