from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safelight.server.core.executors import fair_queue
from safelight.server.core.executors.fair_queue import FairQueue


def served_owners(queue: FairQueue[int], seconds: float = 1.0) -> list[str]:
    """The owners of all items in the order in which they are taken, one after the other."""
    order = []
    while (found := queue.next_eligible()) is not None:
        queue.start(found[0])
        queue.finish(found[0], seconds)
        order.append(found[0])
    return order


def test_owners_alternate_however_many_items_one_has() -> None:
    queue: FairQueue[int] = FairQueue(1)
    for number in range(4):
        queue.put("anna", number)
    queue.put("berta", 0)
    queue.put("carl", 0)
    assert served_owners(queue) == ["anna", "berta", "carl", "anna", "anna", "anna"]


def test_longer_work_counts_for_more() -> None:
    queue: FairQueue[int] = FairQueue(1)
    for number in range(3):
        queue.put("anna", number)
        queue.put("berta", number)
    order = []
    while (found := queue.next_eligible()) is not None:
        queue.start(found[0])
        queue.finish(found[0], 10.0 if found[0] == "anna" else 1.0)
        order.append(found[0])
    assert order == ["anna", "berta", "berta", "berta", "anna", "anna"]


def test_a_latecomer_has_no_credit() -> None:
    queue: FairQueue[int] = FairQueue(1)
    for number in range(20):
        queue.put("anna", number)
    for _ in range(10):
        queue.start("anna")
        queue.finish("anna", 1.0)
    for number in range(5):
        queue.put("berta", number)
    assert served_owners(queue)[:4].count("anna") == 2


def test_one_owner_has_a_limited_share_at_once() -> None:
    queue: FairQueue[int] = FairQueue(2)
    for number in range(3):
        queue.put("anna", number)
    queue.start("anna")
    queue.start("anna")
    assert queue.next_eligible() is None
    queue.put("berta", 7)
    assert queue.next_eligible() == ("berta", 7)
    assert queue.next_eligible(lambda owner: owner == "berta") is None
    queue.finish("anna", 1.0)
    assert queue.next_eligible(lambda owner: owner == "berta") == ("anna", 2)


def test_a_removed_item_is_never_next() -> None:
    queue: FairQueue[int] = FairQueue(1)
    queue.put("anna", 1)
    queue.put("anna", 2)
    queue.remove("anna", 1)
    queue.remove("anna", 1)
    queue.remove("berta", 1)
    assert (queue.waiting("anna"), queue.next_eligible()) == (1, ("anna", 2))
    assert queue.clear() == [2]
    assert not queue


@given(st.lists(st.sampled_from(["anna", "berta", "carl"]), max_size=40))
def test_every_item_is_taken_once_and_in_its_owners_order(owners: list[str]) -> None:
    queue: FairQueue[int] = FairQueue(1)
    for number, owner in enumerate(owners):
        queue.put(owner, number)
    found = []
    while (first := queue.next_eligible()) is not None:
        queue.start(first[0])
        queue.finish(first[0], 1.0)
        found.append(first)
    assert sorted(found) == sorted((owner, number) for number, owner in enumerate(owners))
    for owner in set(owners):
        numbers = [number for whose, number in found if whose == owner]
        assert numbers == sorted(numbers)


def test_idle_owners_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue(1)
    for number in range(3 * fair_queue._MAX_REMEMBERED):
        queue.put(str(number), number)
        queue.start(str(number))
        queue.finish(str(number), 0.0)
    assert len(queue._served) <= fair_queue._MAX_REMEMBERED + 1
