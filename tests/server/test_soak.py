"""The short form of soak.py."""

from soak import BAD_CLIENTS, soak


def test_good_clients_are_served_beside_bad_ones(robots, tmp_path):
    tally, before, after = soak(robots["libero"].arguments, tmp_path / "recording",
                                requests=1600, connections=16, warm=320)
    assert not tally.failures, tally.failures
    assert tally.counts["good requests answered once"] == tally.counts["of them in order"] == 1600
    assert all(tally.counts[client.__name__] > 0 for client in BAD_CLIENTS)
    # A short run is still growing its buffers: the long one tells whether memory is flat.
    assert after < before * 1.05, f"{before:.1f} MB, then {after:.1f} MB"
