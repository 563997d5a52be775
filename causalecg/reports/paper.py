"""An ECG on standard paper, as SVG in millimetres: 25 mm/s, 10 mm/mV, small squares of 1 mm, large ones of 5 mm."""

from __future__ import annotations

import numpy as np

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_COLUMN_SECONDS = 2.5
_ROW_MM, _MARGIN_MM, _CLIP_MV = 25.0, 5.0, 1.9
_RHYTHM = "II"


def ecg_paper(signal: np.ndarray, leads: tuple[str, ...], rate_hz: float, label: str) -> str:
    """SVG of a 12-lead ECG: three rows of four leads, 2.5 s each, and lead II for 10 s.

    Args:
        signal: (leads, samples) in mV; voltages beyond +-1.9 mV of a lead's median are cut off at the row's edge.
        leads: names, in the signal's order.
        rate_hz: of the signal.
        label: accessible description; escaped here.
    """
    from html import escape

    seconds = min(10.0, signal.shape[1] / rate_hz)
    width = 4 * _COLUMN_SECONDS * MM_PER_SECOND + 2 * _MARGIN_MM
    height = (len(_ROWS) + 1) * _ROW_MM + 2 * _MARGIN_MM
    parts = [
        f'<svg class="ecg" viewBox="0 0 {width:g} {height:g}" width="{width:g}mm" height="{height:g}mm" role="img" '
        f'aria-label="{escape(label, quote=True)}" xmlns="http://www.w3.org/2000/svg">',
        f'<rect width="{width:g}" height="{height:g}" class="sheet"/>',
        _grid(width, height, 1.0, "small"),
        _grid(width, height, 5.0, "large"),
    ]
    place = {name: i for i, name in enumerate(leads)}
    for row, names in enumerate(_ROWS):
        for column, name in enumerate(names):
            start = column * _COLUMN_SECONDS
            if name in place and start < seconds:
                piece = signal[place[name]]
                parts.append(_trace(piece, rate_hz, start, min(start + _COLUMN_SECONDS, seconds), row))
                parts.append(_name(name, start, row))
    if _RHYTHM in place:
        parts.append(_trace(signal[place[_RHYTHM]], rate_hz, 0.0, seconds, len(_ROWS)))
        parts.append(_name(_RHYTHM, 0.0, len(_ROWS)))
    parts.append(
        f'<text x="{width - _MARGIN_MM:g}" y="{height - 1.5:g}" text-anchor="end" class="speed">'
        "25 mm/s, 10 mm/mV</text>"
    )
    parts.append("</svg>")
    return "".join(parts)


def _grid(width: float, height: float, step: float, name: str) -> str:
    across = "".join(f"M{x:g} 0V{height:g}" for x in np.arange(0, width + 0.01, step))
    down = "".join(f"M0 {y:g}H{width:g}" for y in np.arange(0, height + 0.01, step))
    return f'<path class="{name}" d="{across}{down}"/>'


def _trace(values: np.ndarray, rate_hz: float, start: float, stop: float, row: int) -> str:
    piece = values[round(start * rate_hz) : round(stop * rate_hz)].astype(np.float64)
    piece = np.clip(piece - np.median(values), -_CLIP_MV, _CLIP_MV)
    stride = max(1, round(rate_hz / 100))
    piece = piece[::stride]
    x = _MARGIN_MM + start * MM_PER_SECOND + np.arange(len(piece)) * stride / rate_hz * MM_PER_SECOND
    y = _MARGIN_MM + (row + 0.5) * _ROW_MM - piece * MM_PER_MV
    # Integer hundredths of a millimetre, relative: half the size of absolute coordinates.
    points = np.round(np.stack([x, y], 1) * 100).astype(int)
    steps = np.diff(points, axis=0)
    path = f"M{points[0, 0]} {points[0, 1]}l" + " ".join(f"{dx} {dy}" for dx, dy in steps)
    return f'<path class="trace" transform="scale(.01)" d="{path}"/>'


def _name(name: str, start: float, row: int) -> str:
    x, y = _MARGIN_MM + start * MM_PER_SECOND + 1, _MARGIN_MM + row * _ROW_MM + 5
    return f'<text x="{x:g}" y="{y:g}" class="lead">{name}</text>'
