"""A rebuild has no more threads at once than there are cores, as a night has."""

from tasks.pipeline.resources import cores
from tasks.rebuild.reproduction import stages_at_once


def test_a_rebuild_counts_the_threads_and_processes_of_its_run() -> None:
    many = 1000 * cores()
    assert stages_at_once({}, many) == stages_at_once({"threads": 1, "teachers": {"lstm": {}}}, many) == cores()
    assert stages_at_once({"threads": cores()}, many) == 1
    assert stages_at_once({"threads": 1, "teachers": {"a": {}, "b": {"processes": cores()}}}, many) == 1
    assert stages_at_once({"threads": 1, "students": {"a": {"processes": cores()}}}, many) == 1
