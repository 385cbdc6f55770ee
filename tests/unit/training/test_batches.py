"""The training order is kept, in every epoch, down to the last short batch."""

from __future__ import annotations

from minirec.training.batches import Schedule


def test_every_epoch_goes_through_all_rows_in_their_order() -> None:
    rows = [5, 3, 9, 1, 4, 8, 2]
    schedule = Schedule(rows, 3)
    assert schedule.per_epoch == 3
    batches = [list(schedule.batch(update)) for update in range(6)]
    assert batches[:3] == batches[3:] == [[5, 3, 9], [1, 4, 8], [2]]
    assert [schedule.epoch(update) for update in range(6)] == [0, 0, 0, 1, 1, 1]


def test_samples_seen_counts_the_short_batch_as_what_it_is() -> None:
    schedule = Schedule(list(range(7)), 3)
    seen = [schedule.samples_seen(updates) for updates in range(7)]
    assert seen == [0, 3, 6, 7, 10, 13, 14]
