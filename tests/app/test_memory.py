"""What was found out is remembered by device and key, and by nothing less."""

from dataclasses import replace

from device_facts import device

from edgekit.app.memory import Memory, fingerprint


def test_a_result_is_known_to_the_next_race_and_says_when_it_was_made(tmp_path):
    Memory(tmp_path, "board").keep({"drop": 0.5}, "judged", "a")
    held = Memory(tmp_path, "board").recall("judged", "a")
    assert held is not None
    assert held["drop"] == 0.5
    assert held["measured_at_s"] > 1_700_000_000


def test_another_device_or_key_knows_nothing(tmp_path):
    Memory(tmp_path, "board").keep({"drop": 0.5}, "judged", "a")
    assert Memory(tmp_path, "other").recall("judged", "a") is None
    assert Memory(tmp_path, "board").recall("judged", "b") is None


def test_fresh_forgets_what_was_known_but_not_what_it_found_itself(tmp_path):
    Memory(tmp_path, "board").keep({"drop": 0.5}, "a")
    fresh = Memory(tmp_path, "board", fresh=True)
    assert fresh.recall("a") is None
    fresh.keep({"drop": 0.7}, "a")
    assert fresh.recall("a")["drop"] == 0.7
    assert Memory(tmp_path, "board").recall("a")["drop"] == 0.7


def test_a_damaged_result_is_thrown_away(tmp_path):
    Memory(tmp_path, "board").keep({"drop": 0.5}, "a")
    (file,) = tmp_path.rglob("result.json")
    file.write_text("{", encoding="utf-8")
    assert Memory(tmp_path, "board").recall("a") is None
    assert not file.exists()


def test_fingerprint_leaves_out_what_changes_by_the_hour():
    facts = device((0xD05,), 4)
    assert fingerprint(facts) == fingerprint(replace(facts, memory_available_bytes=7))
    assert fingerprint(facts) == fingerprint(replace(facts, disk_free_bytes=7))
    assert fingerprint(facts) != fingerprint(replace(facts, kernel="6.1"))
