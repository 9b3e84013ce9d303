"""The demo's batch file: the one in examples/ is what the generator writes, and it's wrong in every known way."""

from __future__ import annotations

from devstack.season import CSV_FILE, ITEM_COUNT, OTHER_TICKETS, SELLER_TICKETS, bad_lines, csv_text, season_lines
from workflows.interface.codes import FailureCode


def test_the_example_file_is_up_to_date() -> None:
    """examples/season-tickets.csv holds exactly the lines that the demo expects."""
    assert CSV_FILE.read_text() == csv_text()


def test_good_lines_name_each_ticket_once() -> None:
    """Good lines are the seller's tickets, each once, so that each must move exactly once."""
    good = [line.ticket_id for line in season_lines() if line.code is None]
    assert len(season_lines()) == ITEM_COUNT
    assert len(good) == len(set(good)) == ITEM_COUNT - len(bad_lines())
    assert set(good) <= set(SELLER_TICKETS)


def test_bad_lines_spare_the_good_ones() -> None:
    """No bad line but a duplicate names a good line's ticket, and each code a newcomer should see is there."""
    good = {line.ticket_id for line in season_lines() if line.code is None}
    bad = bad_lines().values()
    assert all((line.ticket_id in good) == (line.code is FailureCode.DUPLICATE_IN_BATCH) for line in bad)
    assert {line.ticket_id for line in bad if line.code is FailureCode.NOT_TICKET_OWNER} <= set(OTHER_TICKETS)
    assert {line.code for line in bad} >= {
        FailureCode.NOT_TICKET_OWNER,
        FailureCode.UNKNOWN_TICKET,
        FailureCode.INVALID_ADDRESS,
        FailureCode.ADDRESS_CHECKSUM,
        FailureCode.ZERO_ADDRESS,
        FailureCode.DUPLICATE_IN_BATCH,
        FailureCode.RECIPIENT_REFUSED,
        FailureCode.UNKNOWN_USER,
    }
