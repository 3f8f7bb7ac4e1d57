from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.quantisation import ChosenQuantisation, Quantisation, Tried
from edgekit.report.int8_builds import int8_table, tried_lines

MIX = Quantisation("minmax", ("a", "b"))
CHOSEN = ChosenQuantisation(
    MIX, 0.0123, (Tried(Quantisation("kl"), None, "no\nrange"), Tried(MIX, 0.0123)), "why"
)
MADE = CandidateResult(
    Candidate("ncnn", "int8", quantisation=MIX), "ok", "why", size_bytes=2_000_000
)
REFUSED = CandidateResult(Candidate("mnn", "int8"), "unsupported", "no such operator")


def test_rows_tell_how_int8_is_made_and_what_it_loses():
    rows = int8_table([MADE, REFUSED], {"ncnn": CHOSEN}).rows
    assert rows[0] == ("ncnn", "ok", "minmax, 2 layers in float", "0.0123", "2.0", "why")
    assert rows[1] == ("mnn", "unsupported", "", "", "", "no such operator")


def test_every_way_tried_is_a_line():
    assert tried_lines({"ncnn": CHOSEN}) == (
        "ncnn: kl: no range",
        "ncnn: minmax, 2 layers in float: drop 0.0123",
    )
