"""The labels of networks."""

from ibnseg.analysis.networks import labels
from ibnseg.report.records import Network

ONE, ELSEWHERE, OTHER = (
    Network(train, config, "m") for train, config in (("gta5", "a"), ("city", "a"), ("gta5", "b"))
)


def test_networks_of_one_title_are_labelled_with_what_tells_them_apart() -> None:
    assert labels({ONE: "A"}, {}) == {ONE: "A"}
    assert labels({ONE: "A", OTHER: "B"}, {}) == {ONE: "A", OTHER: "B"}
    found = labels({ONE: "A", ELSEWHERE: "A"}, {"city": "City"})
    assert found == {ONE: "A, gta5", ELSEWHERE: "A, City"}
    assert labels({ONE: "A", OTHER: "A"}, {}) == {ONE: "A (a)", OTHER: "A (b)"}
    found = labels({ONE: "A", ELSEWHERE: "A", OTHER: "A"}, {})
    assert list(found.values()) == ["A, gta5 (a)", "A, city (a)", "A, gta5 (b)"]
