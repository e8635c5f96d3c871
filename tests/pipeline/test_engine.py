"""What Beam's DaskRunner makes of our graphs: messages find their groups, and groups are dealt evenly to few tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.engine import group, translated

pytest.importorskip("distributed", reason="needs the extra [dask]")

messages = some.lists(some.lists(some.tuples(some.integers(0, 2**63), some.binary(max_size=3))), max_size=5)


@given(messages, some.integers(1, 9))
def test_every_message_is_in_the_group_of_its_key_and_in_no_other(parts, partitions):
    dealt = group(parts, partitions)
    found = sorted((key, value) for partition in dealt for key, values in partition for value in values)
    assert found == sorted(message for part in parts for message in part)
    keys = [key for partition in dealt for key, _ in partition]
    assert len(keys) == len(set(keys))


@given(messages, some.integers(1, 9))
def test_no_partition_has_two_groups_more_than_another_whatever_order_parts_come_in(parts, partitions):
    sizes = [len(partition) for partition in group(parts, partitions)]
    assert len(sizes) == partitions
    assert max(sizes) - min(sizes) <= 1
    keys = [[key for key, _ in partition] for partition in group(parts, partitions)]
    assert keys == [[key for key, _ in partition] for partition in group(parts[::-1], partitions)]


def tasks(root: str) -> set[object]:
    """Return the names of the tasks that a small graph has in a run that goes to `root`."""
    import apache_beam as beam
    import dask
    from apache_beam.runners.dask.dask_runner import DaskRunner
    from apache_beam.runners.dask.overrides import dask_overrides

    from pipeline.graph import ToOne

    pipeline = beam.Pipeline()
    listed = pipeline | beam.Create([(0, b"a"), (1, b"b")], reshuffle=False)
    listed | "one" >> beam.ParDo(ToOne()) | beam.GroupByKey() | "other" >> beam.ParDo(ToOne())
    pipeline.replace_all(dask_overrides())
    visitor = DaskRunner.to_dask_bag_visitor({"partition_size": 1})
    with translated(3, root):
        pipeline.visit(visitor)
        (last,) = dask.optimize(list(visitor.bags.values())[-1])
    return set(last.dask)


def test_two_runs_of_one_recipe_share_no_task_and_a_run_that_is_taken_up_names_them_as_before():
    assert len(tasks("s3://runs/one")) == 3  # of each element, and of their group together with what follows
    assert not tasks("s3://runs/one") & tasks("s3://runs/other")
    assert tasks("s3://runs/one") == tasks("s3://runs/one")
