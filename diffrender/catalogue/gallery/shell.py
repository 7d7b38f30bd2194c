"""What all pages share: head, style, navigation, and a policy that forbids the network."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources

__all__ = ["asset", "page", "picture"]

_LINKS = (
    ("index.html", "Techniques"),
    ("compare.html", "Comparison"),
    ("libraries.html", "Libraries"),
)


def asset(name: str) -> str:
    """A text file that is installed with this package."""
    folder = resources.files("diffrender.catalogue.gallery").joinpath("assets")
    return folder.joinpath(name).read_text(encoding="utf-8")


def page(title: str, body: str, *, script: str = "", wide: bool = False) -> str:
    """A whole page. `title` is escaped, `body` is HTML, `script` the only one that may run."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"{allowed}base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<a href="{name}">{text}</a>' for name, text in _LINKS)
    tail = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="diffrender">\n'
        f"<title>{escape(title)}</title>\n<style>{asset('style.css')}</style>\n</head>\n"
        f"<body{' class=wide' if wide else ''}>\n"
        f"<header><nav>{links}</nav></header>\n<main>\n{body}\n</main>\n"
        "<footer>The catalogue of diffrender: differentiable rendering as running modules. "
        "Built by <code>diffrender catalogue gallery</code>.</footer>\n"
        f"{tail}\n</body>\n</html>\n"
    )


def picture(png: str, caption: str, *, alt: str = "") -> str:
    """A figure from a base64 PNG; caption and alt are escaped."""
    return (
        f'<figure><img src="data:image/png;base64,{escape(png)}" alt="{escape(alt or caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
