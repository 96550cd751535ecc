from __future__ import annotations

import re

from safelight.cli.console import LineProgress


def test_images_of_an_earlier_run_count_as_done_but_not_in_the_rate(capsys, monkeypatch):
    now = iter([100.0, 102.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    ticker = LineProgress("Judging", every=0.0)
    ticker.set_total(2000)
    ticker.skip_finished(1000)
    ticker.advance()
    assert re.fullmatch(r"Judging: 1001 of 2000, 0\.5/s\n", capsys.readouterr().err)
