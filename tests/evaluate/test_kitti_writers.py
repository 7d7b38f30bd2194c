"""What a report looks like as tables, JSON, Markdown, pictures and a page."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from html_pages import Page
from kitti_scene import perfect, row

from diffrender.evaluate import (
    KittiReport,
    kitti_average_precision,
    report_html,
    report_json,
    report_markdown,
    write_plots,
)
from diffrender.evaluate.kitti_page import report_charts
from diffrender.evaluate.kitti_tables import report_tables, summary_lines

HOSTILE = '<script>alert("x")</script>|`$\\frac'


def _report(hostile: str = "") -> KittiReport:
    labels, results = perfect(50)
    results["000004"] = [row(place=(2, 1.6, 60), score=0.99)]
    if hostile:
        results["000005"] = [*results["000005"], row(hostile.replace(" ", ""), score=0.1)]
    return kitti_average_precision(
        {n: "\n".join(lines) for n, lines in labels.items()},
        {n: "\n".join(lines) for n, lines in results.items()},
    )


def test_tables_say_protocol_overlap_and_counts() -> None:
    report = _report()
    tables = {table.title: table for table in report_tables(report)}
    title = "Car: average precision in %, over 40 recalls (R40) and over 11 (R11)"
    table = tables[title]
    assert table.head[1:4] == ("overlap >", "R40 easy", "R40 moderate")
    assert [cells[:2] for cells in table.rows] == [
        ("2D", "0.70"), ("AOS", "0.70"), ("BEV", "0.70"), ("3D", "0.70"),
        ("BEV", "0.50"), ("3D", "0.50"),
    ]  # fmt: skip
    line = report["Car"].row("3d", "hard", "loose")
    assert table.rows[5][4] == f"{line.r40:.2f}"
    assert table.rows[5][7] == f"{line.r11:.2f}"
    counts = tables["Car: true positives / false positives / missed, with every detection"]
    assert counts.rows[0] == ("ground truths", "", "50", "50", "50")
    assert counts.rows[1] == ("detections", "", "50", "50", "50")
    assert counts.rows[4] == ("3D", "0.70", "49 / 1 / 1", "49 / 1 / 1", "49 / 1 / 1")
    assert all(len(cells) == len(t.head) for t in tables.values() for cells in t.rows)
    assert summary_lines(report)[0] == "KITTI object evaluation of 50 frames"


def test_json_holds_every_figure_unrounded() -> None:
    report = _report()
    record = json.loads(json.dumps(report_json(report), allow_nan=False))
    assert (record["schema"], record["benchmark"]) == (1, "kitti-object")
    car = record["classes"][0]
    assert len(car["rows"]) == len(report["Car"].rows) == 18
    line = report["Car"].row("3d", "moderate")
    (written,) = (
        r for r in car["rows"]
        if (r["metric"], r["difficulty"], r["overlap"]) == ("3d", "moderate", "strict")
    )  # fmt: skip
    assert written["r40"] == line.r40
    assert written["curve"]["sampled"] == line.curve.sampled.tolist()
    assert written["curve"]["precision"] == line.curve.precision.tolist()
    assert car["bands"][-1]["far"] is None
    assert record["settings"]["classes"] == ["Car", "Pedestrian", "Cyclist"]
    assert record["classes"][1]["not_evaluated"]["3d"] == "no detection of class Pedestrian"


def test_markdown_has_a_row_for_every_row() -> None:
    report = _report()
    text = report_markdown(report)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == sum(2 + len(table.rows) for table in report_tables(report))
    widths = {t.title: len(t.head) for t in report_tables(report)}
    for title, width in widths.items():
        block = text.split(title.replace("[", "\\["))[1].split("##")[0]
        assert all(
            len(re.findall(r"(?<!\\)\|", line)) == width + 1
            for line in block.splitlines()
            if line.startswith("|")
        )


def test_the_page_fetches_nothing_and_names_stay_text() -> None:
    report = _report(HOSTILE)
    assert any("<script>" in warning for warning in report.warnings)
    page = report_html(report, report_charts(report))
    parsed = Page(page)
    assert not any(parsed.of(tag) for tag in ("script", "link", "iframe", "object"))
    sources = [attributes["src"] for attributes in parsed.of("img")]
    assert len(sources) == 3
    assert all(source and source.startswith("data:image/png;base64,") for source in sources)
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert" in page
    assert "<script>" not in report_markdown(report).replace("\\<script\\>", "")


def test_pictures_are_written_beside_the_page(tmp_path: Path) -> None:
    from PIL import Image

    report = _report()
    files = write_plots(report, tmp_path / "new")
    assert [path.name for path in files] == [
        "report.html", "curves_Car.png", "distance_Car.png", "worst_frames.png",
    ]  # fmt: skip
    for path in files[1:]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        # The colours of a curve, a detection or a truth are there.
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in files)


def test_the_same_numbers_give_the_same_bytes() -> None:
    report = _report()
    assert report_charts(report) == report_charts(report)


def test_a_report_without_detections_is_written_too(tmp_path: Path) -> None:
    report = kitti_average_precision({"0": row()}, {"0": ""})
    assert report_tables(report) == []
    assert write_plots(report, tmp_path) == [tmp_path / "report.html"]
    assert "no detection of class Car" in (tmp_path / "report.html").read_text()
    assert report_markdown(report).startswith("# KITTI object evaluation of 1 frames")


@pytest.mark.parametrize("metric", ["bev", "3d"])
def test_the_picture_of_a_2d_only_result_leaves_out_what_is_unknown(metric: str) -> None:
    flat = row(place=(-1000, -1000, -1000), size=(-1, -1, -1), yaw=-10, score=0.5)
    report = kitti_average_precision({"0": row()}, {"0": flat})
    assert metric in report["Car"].not_evaluated
    charts = report_charts(report)
    assert set(charts) == {"curves_Car.png"}
    with io.BytesIO(charts["curves_Car.png"]) as buffer:
        assert buffer.read(4) == b"\x89PNG"
