import statistics

from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.medians import WINDOW, RollingMedian


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=3 * WINDOW))
def test_median_is_that_of_the_last_samples(values):
    median = RollingMedian()
    for value in values:
        median.add(value)
    assert median.value == statistics.median_high(values[-WINDOW:])
