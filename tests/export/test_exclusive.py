import threading

from fastbert.export.exclusive import exclusive_bundle


def test_a_second_writer_waits_and_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    entered = threading.Event()

    def write():
        with exclusive_bundle(tmp_path):
            entered.set()

    with exclusive_bundle(tmp_path):
        writer = threading.Thread(target=write)
        writer.start()
        while not caplog.messages:
            assert writer.is_alive()
            writer.join(0.01)
        assert not entered.is_set()
    writer.join()
    assert entered.is_set()
    assert caplog.messages == [f"another command writes into {tmp_path}; waiting for it"]
