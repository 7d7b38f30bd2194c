"""report.html of an evaluation: one page with tables and pictures that fetches nothing."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from diffrender._files import write_bytes_atomic, write_text_atomic
from diffrender.evaluate.kitti_charts import distance_chart, precision_chart, worst_chart
from diffrender.evaluate.kitti_report import KittiReport
from diffrender.evaluate.kitti_tables import Table, report_tables, summary_lines

__all__ = ["report_charts", "report_html", "write_plots"]

_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --ink: #1d2023; --soft: #646a70;
  --line: #dfe0dc; --mark: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --page: #131518; --card: #1b1e22; --ink: #e7e8e6;
  --soft: #9aa1a8; --line: #2e3238; --mark: #3a3320; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 24px 48px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 8px; } h2 { font-size: 19px; margin: 34px 0 10px; }
h3 { font-size: 14px; margin: 20px 0 8px; font-weight: 600; }
ul { margin: 0; padding-left: 20px; color: var(--soft); overflow-wrap: anywhere; }
ul.warnings { background: var(--mark); color: var(--ink); padding: 10px 14px 10px 32px;
  border-radius: 8px; margin: 16px 0 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 6px 11px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 550; border-bottom: 1px solid var(--line); }
tr + tr td { border-top: 1px solid var(--line); }
.text { text-align: left; }
img { display: block; max-width: 100%; margin-top: 14px; border: 1px solid var(--line);
  border-radius: 8px; }
"""
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def report_charts(report: KittiReport) -> dict[str, bytes]:
    """File name -> PNG: curves and distance per class, and the worst frames."""
    charts: dict[str, bytes] = {}
    for entry in report.classes:
        if entry.rows:
            charts[f"curves_{entry.name}.png"] = precision_chart(entry)
        if entry.bands:
            charts[f"distance_{entry.name}.png"] = distance_chart(entry)
    if report.worst:
        charts["worst_frames.png"] = worst_chart(report)
    return charts


def report_html(report: KittiReport, charts: dict[str, bytes]) -> str:
    """The page as text; pictures are inside it, and every name is escaped."""
    title, *facts = summary_lines(report)
    tables = report_tables(report)
    parts = [f"<h1>{escape(title)}</h1>", _list(facts, "")]
    if report.warnings:
        parts.append(_list(report.warnings, ' class="warnings"'))
    for entry in report.classes:
        mine = [table for table in tables if table.title.startswith(f"{entry.name}:")]
        if mine:
            parts.append(f"<h2>{escape(entry.name)}</h2>{_table(mine[0])}")
            parts.append(_picture(charts, f"curves_{entry.name}.png"))
            parts += [_table(table) for table in mine[1:]]
            parts.append(_picture(charts, f"distance_{entry.name}.png"))
    rest = [table for table in tables if table.title.startswith("Errors")]
    if rest:
        parts.append(f"<h2>Matched pairs</h2>{''.join(map(_table, rest))}")
    if "worst_frames.png" in charts:
        parts.append(
            "<h2>Frames with the most errors</h2><p>In 3D at the loose overlap, each class at the "
            "score where its F1 is best; a line points to the front.</p>"
        )
        parts.append(_picture(charts, "worst_frames.png"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def write_plots(report: KittiReport, folder: str | Path) -> list[Path]:
    """Write report.html and its pictures into `folder`; returns the files, the page first."""
    charts = report_charts(report)
    pictures = [write_bytes_atomic(Path(folder) / name, png) for name, png in charts.items()]
    page = write_text_atomic(Path(folder) / "report.html", report_html(report, charts))
    return [page, *pictures]


def _list(lines: list[str] | tuple[str, ...], attribute: str) -> str:
    return f"<ul{attribute}>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _picture(charts: dict[str, bytes], name: str) -> str:
    if name not in charts:
        return ""
    data = base64.b64encode(charts[name]).decode("ascii")
    return f'<img alt="{escape(name, quote=True)}" src="data:image/png;base64,{data}">'


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=text' * (i < table.text)}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table>'
        f"<thead><tr>{row(table.head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )
