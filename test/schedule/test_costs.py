from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.medians import WINDOW
from yolox_trt_ros.schedule.costs import CostModel, Quote


def test_an_outlier_hardly_moves_a_cost_and_a_lasting_change_does():
    costs = CostModel()
    for _ in range(20):
        costs.observe(1, 0, 4_000_000)
    costs.observe(1, 0, 900_000_000)
    assert costs.expect(1) == 4_000_000
    for _ in range(WINDOW // 2 + 1):
        costs.observe(1, 0, 6_000_000)
    assert costs.expect(1) == 6_000_000


def test_a_load_that_was_never_seen_borrows_from_the_nearest_one_that_was():
    costs = CostModel()
    costs.observe(1, 0, 4_000_000)
    costs.observe(1, 2, 5_000_000)
    assert costs.expect(1, 0) == 4_000_000
    assert costs.expect(1, 1) == 5_000_000  # of two as near, the careful one
    assert costs.expect(1, 5) == 5_000_000


def test_batch_sizes_between_measured_ones_are_interpolated():
    costs = CostModel()
    costs.observe(1, 0, 2_000_000)
    costs.observe(4, 0, 5_000_000)
    assert [costs.expect(n) for n in (1, 2, 3, 4, 8)] == [
        2_000_000, 3_000_000, 4_000_000, 5_000_000, 10_000_000,
    ]  # fmt: skip
    assert costs.table() == {1: 2_000_000, 4: 5_000_000}
    costs.observe(2, 0, 2_500_000)
    assert costs.expect(2) == 2_500_000


def test_a_quote_holds_for_one_load():
    costs = CostModel(max_batch=2)
    costs.observe(1, 0, 4_000_000)
    costs.observe(1, 1, 5_000_000)
    assert (costs.quote(0).single_ns, costs.quote(1).single_ns) == (4e6, 5e6)
    assert costs.quote(1).call_ns(2) == 10_000_000


def test_a_quote_follows_what_calls_take_to_a_hundredth():
    costs = CostModel()
    costs.observe(1, 0, 4_000_000)
    first = costs.quote(0)
    for cost_ns in (4_039_000, 4_039_000):
        costs.observe(1, 0, cost_ns)
    assert costs.quote(0) is first
    for _ in range(3):
        costs.observe(1, 0, 4_050_000)
    assert costs.quote(0).single_ns == 4_050_000 == costs.table()[1]


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=8))
def test_no_other_size_does_more_frames_a_second_or_gets_them_done_sooner(curve):
    quote = Quote(lambda size: curve[size - 1], len(curve))

    @cache
    def least(waiting: int) -> int:
        """Return the least sum of the times until all are done, by trying everything."""
        splits = range(1, waiting + 1)
        return min((waiting * curve[k - 1] + least(waiting - k) for k in splits), default=0)

    for waiting in range(1, len(curve) + 1):
        assert quote.room_ns(waiting) == min(curve[waiting - 1 :])
        size = quote.size(waiting, short=True)
        assert size <= waiting
        assert curve[size - 1] / size == min(curve[k - 1] / k for k in range(1, waiting + 1))
        size = quote.size(waiting, short=False)
        assert waiting * curve[size - 1] + least(waiting - size) == least(waiting)


@given(
    st.lists(st.integers(1, 10**8), min_size=1, max_size=8),
    st.integers(1, 8),
    st.lists(st.integers(0, 10**8), max_size=8),
)
def test_a_lane_waits_only_where_that_loses_less_time_than_any_batch_now(curve, waiting, waits):
    waiting = min(waiting, len(curve))
    quote = Quote([0, *curve].__getitem__, len(curve))
    size, wait_ns = quote.worth_waiting(waiting, sorted(waits))
    frame_ns = min(cost / n for n, cost in enumerate(curve, 1))
    lost_ns = wait_ns + curve[size - 1] - size * frame_ns
    assert lost_ns <= min(curve[n - 1] - n * frame_ns for n in range(1, waiting + 1)) + 1
    assert wait_ns == (sorted(waits)[size - waiting - 1] if size > waiting else 0)


@given(st.lists(st.integers(10**5, 10**8), min_size=1, max_size=8))
def test_trying_other_sizes_costs_a_lane_little_and_leaves_none_out(curve):
    quote = Quote([0, *curve].__getitem__, len(curve))
    most, seldomest = len(curve), 2 * max(quote.lost_ns) // quote.call_ns(quote.economical) + 1
    rounds = 2 * most * seldomest
    if rounds > 20_000:
        return
    tried = [quote.other_size(number, most) for number in range(rounds)]
    lost_ns = sum(quote.lost_ns[size] for size in tried)
    # One call in 32 is asked for.
    assert lost_ns <= 0.02 * 32 * rounds * quote.call_ns(quote.economical)
    assert set(range(1, most + 1)) <= set(tried) or rounds < 4 * most


def test_an_unmeasured_lane_has_no_cost():
    assert CostModel().table() == {}
